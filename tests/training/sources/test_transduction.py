"""Strings that seed and number alone decide, and what becomes of them."""

import numpy as np
import pytest

from jattn.training.sources.transduction import Transduction


@pytest.mark.parametrize(("task", "become"), [("reverse", lambda t: t[::-1]), ("sort", sorted), ("copy", list)])
def test_targets_are_what_the_task_says(task, become):
    source = Transduction(task)
    for number in range(20):
        example = source.train(9, 3)[number]
        count = int(example["source_length"])
        text = list(example["source"][:count])
        assert 5 <= count <= 9 and min(text) >= 1 and max(text) <= 16 and not example["source"][count:].any()
        np.testing.assert_array_equal(example["tokens"], [0, *become(text), 0, *[0] * (9 - count)])
        assert example["length"] == example["scored"].sum() == count + 1
    for name, shape in source.outline(9).items():
        assert shape.shape == example[name].shape and shape.dtype == example[name].dtype


def test_seed_and_number_decide():
    source = Transduction()
    one, again, other = source.train(9, 3), source.train(9, 3), source.train(9, 4)
    np.testing.assert_array_equal(one[70_000]["tokens"], again[70_000]["tokens"])
    tokens = {tuple(each["tokens"]) for each in (one[0], one[65_536], other[0], source.held_out(9)[0])}
    assert len(tokens) == 4 and source.vocabulary == 17


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="task must be 'reverse' or 'sort' or 'copy', got 'shuffle'"):
        Transduction("shuffle")
    with pytest.raises(ValueError, match="symbols must be a whole number of at least 2, got 1"):
        Transduction(symbols=1)
