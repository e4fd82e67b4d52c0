"""Tests the names of presets."""

import jax
import pytest

from jattn.training import state
from jattn.training.presets import ENTROPY_GUIDED, PRESETS, preset
from jattn.training.run import Run


def test_default_is_the_plain_run():
    assert preset("default") == Run()
    assert {"default", "smoke", "tiny"} <= set(PRESETS)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="got 'smok'; did you mean smoke"):
        preset("smok")


@pytest.mark.parametrize("devices", [1, 8, 256])
def test_a_long_context_is_split_over_all_devices(devices):
    run = preset("long_context")
    assert run.mesh.over(devices)["context"] == devices and run.context % devices == 0


def test_vit_b_has_the_papers_size():
    run = preset("vit-b")
    params = state.outline(run).params
    assert params["positions"]["table"].shape == (196, 768) and run.tokens == 197
    # table 1 says 86 million; here are no biases but the norms'
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == pytest.approx(86e6, rel=0.01)
    # 300 epochs of 1,281,167 images
    assert run.steps * run.batch == pytest.approx(300 * 1_281_167, rel=1e-4)


def test_the_performer_has_the_papers_size():
    run = preset("performer-pg19")
    model, directions = run.model, run.model.attention.feature.projection
    # heads, layers, inner width of feed-forward layers, width
    assert (model.heads, model.depth, model.expansion * model.width, model.width) == (8, 6, 2048, 512)
    assert (directions.count, directions.kind, directions.redraw, model.vocabulary) == (256, "orthogonal", 1000, 32768)
    # Adam at a constant rate
    rate = run.optimizer.learning_rate(run.steps)
    assert all(float(rate(step)) == pytest.approx(1e-3) for step in (0, 1, run.steps - 1))
    # attention of four projections and feed-forward layers of two, in six blocks, beside embedding and head
    blocks = 6 * (4 + 2 * 4) * 512**2
    size = sum(leaf.size for leaf in jax.tree.leaves(state.outline(run).params))
    assert size == pytest.approx(blocks + 2 * 32768 * 512, rel=1e-3)
    assert state.outline(run).params["embedding"]["table"].shape == (32768, 512)


def test_blocks_of_entropy_guided_attention_have_two_names():
    for name, plain in (
        ("SM+LN+G", "sm-ln-g"), ("SM(t)+ScFuFFN", "sm-t-scfuffn"), ("EReg(SM(t)+ScFuFFN)", "ereg-sm-t-scfuffn"),
    ):  # fmt: skip
        assert preset(name) is preset(plain)
    assert len(ENTROPY_GUIDED) == 10
    kept = preset("SM+ScFuFFN").model
    assert (kept.norm, kept.activation, kept.residual, kept.feedforward) == ("none", "identity", "scaled", "fused")


def test_the_decay_of_transnormer_is_that_of_as_many_layers_as_it_has():
    model = preset("transnormer").model
    assert model.attention.decay.depth == model.depth
    params = state.outline(preset("transnormer")).params["stack"]["repeat"][0]
    # norms learn nothing
    assert set(params) == {"mixer", "feedforward"} and set(params["feedforward"]) == {"gate", "up", "down"}
    assert set(params["mixer"]["projecting"]) == {"query", "key", "value", "gate", "output"}
