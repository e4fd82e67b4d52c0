"""Expressions against an evaluator of their text, the law of their lengths, and what other hosts must draw too."""

import hashlib
import re

import numpy as np
import pytest

from jattn.training.data import listops
from jattn.training.data.listops import TEST, TRAINING, Law

BENCHMARK = Law(depth=10, arguments=10, longer_than=500, shorter_than=2000)
SHORT = Law(depth=5, arguments=10, longer_than=30, shorter_than=200)
# of the first 100 expressions of seed 0 to train on, tokens as bytes with 0 behind each
FIRST = {
    BENCHMARK: "9c40e7d52254503bd215af9450c2e522972ed516068e8a9bc63fd2d707ccad8b",
    SHORT: "c1d821dc88a753ee8482f5477cdeb0b783f2816a1b8cb8a6d98d8c8eed181c51",
}
INNERMOST = re.compile(r"\[(\w+)((?: \d)+) \]")
# the median as the benchmark takes it
WORTH = {"MIN": np.min, "MAX": np.max, "MED": np.median, "SM": lambda values: np.sum(values) % 10}


def rewritten(text):
    """Its value, by putting that of every list of digits in the list's place until a digit is left; and how often."""
    times = 0
    while len(text) > 1:
        text, times = INNERMOST.sub(lambda found: worth(*found.groups()), text), times + 1
    return int(text), times


def worth(name, values):
    return str(int(WORTH[name]([int(each) for each in values.split()])))


def drawn(law, count, half=TRAINING):
    return [listops.expression(law, half, (0, number)) for number in range(count)]


@pytest.mark.parametrize("law", [pytest.param(BENCHMARK, marks=pytest.mark.slow), SHORT], ids=["benchmark", "short"])
def test_ten_thousand_values_are_those_of_an_independent_evaluator(law):
    names, deepest = set(), 0
    for tokens in drawn(law, 10_000):
        text = listops.text(tokens)
        found, times = rewritten(text)
        assert listops.value(tokens) == found, text
        names |= set(re.findall(r"\w+", text))
        deepest = max(deepest, times)
        assert law.longer_than < len(tokens) < law.shorter_than
    # lists are as deep as they may be, a value is a level too
    assert names == {*WORTH, *"0123456789"} and deepest == law.depth - 1


@pytest.mark.slow
def test_what_the_commonest_value_and_the_first_operator_tell():
    table = np.zeros((listops.OPERATORS, 10))
    for tokens in drawn(BENCHMARK, 10_000):
        table[tokens[0] - listops.OPERATOR, listops.value(tokens)] += 1
    # as the source's docstring says, to two standard deviations
    shares = table.sum(0).max() / table.sum(), table.max(1).sum() / table.sum()
    np.testing.assert_allclose(shares, (0.17, 0.364), atol=0.01)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("[MAX 4 3 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]", 5),
        # of two in the middle the mean is cut off
        ("[MED 1 4 ]", 2),
        ("[SM 9 9 [SM 5 5 ] 3 ]", 1),
    ],
)
def test_values_of_known_expressions(text, value):
    tokens = [listops.WORDS.index(word) for word in text.split()]
    assert listops.value(tokens) == value and listops.text(tokens) == text


@pytest.mark.parametrize("law", FIRST, ids=["benchmark", "short"])
def test_any_host_draws_the_same(law):
    digest = hashlib.sha256(b"".join(bytes([*tokens, 0]) for tokens in drawn(law, 100)))
    assert digest.hexdigest() == FIRST[law]


def test_lengths_follow_the_law_of_the_benchmark():
    # without any left out, but for those that are cut off
    law, count = Law(depth=4, arguments=5, longer_than=0, shorter_than=41), 20_000
    sizes = np.array([len(tokens) for tokens in drawn(law, count)])
    chances = listops.lengths(law.depth, law.arguments, law.shorter_than)
    # three in four are one value; a list of values only has its brackets besides
    assert chances[1] == 3 / 4 and chances[2:4] == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(chances[4], (1 / 4) * (1 / 4) * (3 / 4) ** 2, rtol=1e-12)
    expected = chances / chances.sum()
    bins = np.split(np.arange(law.shorter_than), [2, 5, 6, 7, 8, 10, 13, 17, 25])
    for these in bins:
        share = expected[these].sum()
        # five standard deviations: one in a million by chance
        assert abs(np.isin(sizes, these).mean() - share) < 5 * np.sqrt(share * (1 - share) / count)


def test_the_law_is_that_of_all_trees_counted_one_by_one():
    """Two arguments at most, three levels: every tree by hand."""
    one, two = {1: 1.0}, {1: 3 / 4, 4: 1 / 4}
    three = {1: 3 / 4}
    for left, first in two.items():
        for right, second in two.items():
            three[2 + left + right] = three.get(2 + left + right, 0) + first * second / 4
    for depth, law in enumerate((one, two, three), 1):
        np.testing.assert_allclose(listops.lengths(depth, 2, 12), [law.get(n, 0) for n in range(12)], atol=1e-15)
    # levels and arguments that are never reached change nothing but how rare the others are
    np.testing.assert_allclose(listops.lengths(9**9, 2, 9), listops.lengths(4, 2, 9), atol=1e-15)
    np.testing.assert_allclose(listops.lengths(2, 9**9, 9)[4:], np.full(5, (1 / 4) / (9**9 - 1)), atol=1e-15)


def test_half_of_all_expressions_are_held_out():
    law = Law(depth=2, arguments=2, longer_than=3, shorter_than=5)
    train, test = ({tuple(each) for each in drawn(law, 3000, half)} for half in (TRAINING, TEST))
    # four operators of two digits each, all of which are drawn, are 400
    assert not train & test and len(train | test) == 400 and 150 < len(train) < 250


def test_what_is_chosen_is_chosen_evenly():
    tokens = np.concatenate(drawn(SHORT, 2000))
    operators = np.bincount(tokens, minlength=16)[listops.OPERATOR : listops.END]
    digits = np.bincount(tokens, minlength=16)[listops.VALUE : listops.OPERATOR]
    for counts in (operators, digits):
        mean = counts.mean()
        assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)
    # of 2 to 10 arguments, all as often where no length is left out
    free = Law(depth=2, arguments=10, longer_than=0, shorter_than=13)
    sizes = np.array([len(each) - 2 for each in drawn(free, 20_000)])
    counts = np.bincount(sizes[sizes > 0], minlength=11)[2:]
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())
