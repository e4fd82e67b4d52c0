"""Tests the names of presets."""

import pytest

from jattn.training.presets import PRESETS, preset
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
