"""Tests the sentences of refusals."""

import pytest

from jattn.training import checks


def test_each_names_rule_value_and_cure():
    for check, words in (
        (lambda: checks.whole("A", "b", 0, 1, "use 1"), "A.b must be a whole number of at least 1, got 0; use 1."),
        (lambda: checks.between("A", "b", 2.5, 0, 1, "c"), "A.b must lie between 0 and 1, got 2.5; c."),
        (lambda: checks.positive("A", "b", float("inf"), "c"), "A.b must be a finite number above 0, got inf; c."),
        (lambda: checks.one_of("A", "b", "x", ("y", "z"), "c"), "A.b must be 'y' or 'z', got 'x'; c."),
    ):
        with pytest.raises(ValueError) as error:
            check()
        assert str(error.value) == words
