"""Tests the rows of metrics.jsonl."""

import jax.numpy as jnp
import pytest

from jattn.training import metrics
from jattn.training.step import Metrics


def test_rows_are_read_as_written(tmp_path):
    shown = Metrics(jnp.float32(1.5), jnp.float32(0.25), jnp.float32(1e-3), jnp.ones((2, 3)))
    held_out = {"accuracy": 0.25, "loss": 2.5}
    rows = [metrics.row(1, shown, 100.4, None), metrics.row(2, shown._replace(entropy=None), 5.0, held_out)]
    with metrics.Writer(tmp_path) as writer:
        for row in rows:
            writer.write(row)
    assert metrics.read(tmp_path) == rows
    assert rows[0] == {
        "step": 1,
        "loss": 1.5,
        "learning_rate": 1e-3,
        "gradient_norm": 0.25,
        "tokens_per_second": 100,
        "entropy": [[1.0] * 3] * 2,
    }
    assert (rows[1]["heldout_loss"], rows[1]["heldout_accuracy"]) == (2.5, 0.25) and "entropy" not in rows[1]
    # written before its evaluation
    assert metrics.evaluated(rows[0], held_out) == rows[0] | {"heldout_loss": 2.5, "heldout_accuracy": 0.25}


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_step(loss, tmp_path):
    with pytest.raises(FloatingPointError, match=f"got {loss} at step 7; lower"):
        metrics.finite(7, loss, tmp_path)


def test_params_that_are_no_numbers_name_their_step(tmp_path):
    metrics.learned(7, True, tmp_path)
    with pytest.raises(FloatingPointError, match="got others after step 7; lower"):
        metrics.learned(7, False, tmp_path)


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold metrics.jsonl"):
        metrics.read(tmp_path)


@pytest.mark.parametrize(
    "line, steps",
    [
        ('{"step": 3, "loss": 1.5}\n', 3),
        ('{"step": 3, "loss": 1.5}', 2),
        ('{"step": 3, "loss": 1\n', 2),
        ('{"step": 3}\n', 2),
        ('{"step": 3, "loss": "low"}\n', 2),
        ('{"step": 2, "loss": 1.5}\n', 2),
        ("[" * 100_000 + "\n", 2),
        ("", 2),
    ],
)
def test_rows_count_as_long_as_they_are_whole_and_in_order(tmp_path, line, steps):
    good = [f'{{"step": {n}, "loss": 2.0}}\n' for n in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join([*good, line]))
    assert metrics.whole(tmp_path) == steps
    metrics.cut(tmp_path, 1)
    assert (tmp_path / "metrics.jsonl").read_text() == good[0]
    assert metrics.whole(tmp_path / "none") == 0


def test_a_row_that_is_none_is_told_with_its_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2}\n')
    with pytest.raises(ValueError, match="must be one step as JSON, got '{\"step\": 2}' in line 2 of .* --resume"):
        metrics.read(tmp_path)
