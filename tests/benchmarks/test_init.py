"""The folder is the list of benchmarks."""

import pytest

from jattn import benchmarks


def test_every_file_that_measures_is_a_benchmark_and_no_other():
    assert {"attention", "attention_lengths", "training_step"} <= set(benchmarks.names())
    assert not {"calls", "compressors", "contest", "peers", "report", "turns", "__init__"} & set(benchmarks.names())


@pytest.mark.parametrize("name", benchmarks.names())
def test_every_benchmark_has_a_full_and_a_small_setting(name):
    module = benchmarks.load(name)
    assert callable(module.measure) and type(module.FULL) is type(module.SMOKE) and module.FULL != module.SMOKE


def test_a_name_is_read_as_a_command_line_may_write_it():
    assert benchmarks.load("training-step") is benchmarks.load("training_step")


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^There is no benchmark 'savs'; the nearest is saves\.$"):
        benchmarks.load("savs")
    with pytest.raises(ValueError, match=r"there are attention, .*training_step\.$"):
        benchmarks.load("zzz")
