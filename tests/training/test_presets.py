"""Tests the names of presets."""

import pytest

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


def test_blocks_of_entropy_guided_attention_have_two_names():
    for name, plain in (
        ("SM+LN+G", "sm-ln-g"), ("SM(t)+ScFuFFN", "sm-t-scfuffn"), ("EReg(SM(t)+ScFuFFN)", "ereg-sm-t-scfuffn"),
    ):  # fmt: skip
        assert preset(name) is preset(plain)
    assert len(ENTROPY_GUIDED) == 10
    kept = preset("SM+ScFuFFN").model
    assert (kept.norm, kept.activation, kept.residual, kept.feedforward) == ("none", "identity", "scaled", "fused")
