"""Tests that both pictures are drawn from rows alone."""

import numpy as np
import pytest

from jattn.mechanisms.entropy_bands import causal_ceiling
from jattn.training import plots
from jattn.training.run import Run


def rows(layers=3, heads=2):
    made = [{"step": n, "loss": 5 / n, "entropy": [[1.0 + n / 10] * heads] * layers} for n in range(1, 9)]
    made[4]["heldout_loss"] = 2.0
    return made


def test_pictures_are_written(tmp_path):
    written = plots.draw(rows(), tmp_path, Run())
    assert [path.name for path in written] == ["loss.png", "entropy.png", "heads.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_a_panel_a_layer_and_a_line_a_head():
    figure = plots.entropy_figure(rows(layers=5, heads=2), 128)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 5
    # two heads and the line of log(context)
    assert all(len(axes.lines) == 3 for axes in shown)
    assert plots.entropy_figure([{"step": 1, "loss": 2.0}], 128) is None


def test_of_many_layers_the_first_the_last_and_some_between_have_panels():
    figure = plots.entropy_figure(rows(layers=150, heads=2), 128)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert len(titles) == plots.PANELS and titles[0] == "layer 0" and titles[-1] == "layer 149"
    named = [text.get_text() for text in plots.heads_figure(rows(layers=150), 128).axes[0].get_yticklabels()]
    assert named[:2] == ["0", "4"] and len(named) <= plots.PARTED


def test_a_row_a_head_and_their_bands_at_the_end():
    made = rows(layers=3, heads=2)
    made[-1]["entropy"][0] = [0.1, 1.0]
    figure = plots.heads_figure(made, 128)
    over_training, after, _ = figure.axes
    image = over_training.images[0].get_array()
    assert image.shape == (6, 8) and image[0, -1] == 0.1
    assert [bar.get_height() for bar in after.patches] == [1 / 6, 0, 1 / 6, 4 / 6]
    assert plots.heads_figure([{"step": 1, "loss": 2.0}], 128) is None


def test_colors_reach_up_to_the_most_that_a_causal_head_can_have_and_beyond_where_one_does():
    made = rows(layers=3, heads=2)
    assert plots.heads_figure(made, 128).axes[0].images[0].get_clim() == (0, causal_ceiling(128))
    made[-1]["entropy"][0] = [4.5, 1.0]
    assert plots.heads_figure(made, 128).axes[0].images[0].get_clim() == (0, 4.5)


def test_losses_are_of_what_the_source_counts():
    assert plots.loss_figure(rows(), "token").axes[0].get_ylabel() == "loss (nats per token)"


def test_smoothing_is_the_mean_of_the_last_values():
    np.testing.assert_allclose(plots.smoothed(np.array([1.0, 3.0, 5.0, 7.0]), 3), [1, 2, 3, 5])


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "loss.png").mkdir()
    with pytest.raises(OSError, match="A picture must be a file that can be written, got .*loss.png': Is a directory"):
        plots.draw([{"step": 1, "loss": 2.0}], tmp_path, Run())
