"""Pairs and questions that seed and number alone decide, and what is refused."""

import numpy as np
import pytest

from jattn.training.sources.associative_recall import AssociativeRecall


def test_each_key_is_asked_once_behind_all_pairs_and_labeled_with_its_value():
    source = AssociativeRecall(pairs=5, keys=9, values=4)
    for number in range(20):
        example = source.train(23, 3)[number]
        inputs, labels, scored = (example[name] for name in ("inputs", "labels", "scored"))
        keys, values = inputs[:10:2].tolist(), inputs[1:10:2].tolist()
        assert len(set(keys)) == 5 and 1 <= min(keys) and max(keys) <= 9 < min(values) and max(values) <= 13
        asked = np.flatnonzero(scored)
        assert asked.min() >= 10 and sorted(inputs[asked]) == sorted(keys)
        told = dict(zip(keys, values, strict=True))
        assert labels[asked].tolist() == [told[key] for key in inputs[asked].tolist()]
        rest = np.setdiff1d(np.arange(10, 23), asked)
        assert not inputs[rest].any() and not labels[scored == 0].any()
    for name, shape in source.outline(23).items():
        assert shape.shape == example[name].shape and shape.dtype == example[name].dtype
    assert source.vocabulary == 14


def test_keys_are_asked_in_an_order_of_their_own():
    inputs = AssociativeRecall().train(24, 0)[0]["inputs"]
    assert sorted(inputs[16:]) == sorted(inputs[:16:2]) and inputs[16:].tolist() != inputs[:16:2].tolist()


def test_seed_and_number_decide():
    source = AssociativeRecall()
    one, again, other = source.train(30, 3), source.train(30, 3), source.train(30, 4)
    np.testing.assert_array_equal(one[70_000]["inputs"], again[70_000]["inputs"])
    drawn = {tuple(each["inputs"]) for each in (one[0], one[65_536], other[0], source.held_out(30)[0])}
    assert len(drawn) == 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="8 pairs takes two tokens and one to ask for it, got a context of 23; use"):
        AssociativeRecall().train(23, 0)
    with pytest.raises(ValueError, match="pairs must be a whole number of at least 1, got 0"):
        AssociativeRecall(pairs=0)
    with pytest.raises(ValueError, match="keys must be a whole number of at least 8, got 7; each pair has a key"):
        AssociativeRecall(keys=7)
    with pytest.raises(ValueError, match="values must be a whole number of at least 2, got 1"):
        AssociativeRecall(values=1)
