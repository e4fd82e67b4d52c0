"""The rules of `report.py` on made-up figures, and the marks they are held against, counted from the strings."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "sigma_reparam_depth"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN


def found(change=lambda cell: None, otherwise=1.0):
    """Every run ends at `otherwise` but where `change` of its cell gives another loss, or inf where it diverged."""

    def result(cell):
        if (value := change(cell)) is None:
            value = 2.19 if cell[0] == report.PLAIN else otherwise
        reached = {"diverged": 3} if value == np.inf else {"heldout_loss": value}
        return {
            "reached": reached, "points": [{"step": 1, "loss": 2.0, "entropy": [[1.0, 2.0], [0.5, 0.5]]}],
            "machine": {}, "versions": {},
        }  # fmt: skip

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def held(given):
    return [rule(given).held for rule in report.RULES.values()]


def test_arms_have_the_same_grid():
    assert len(RUN.RUNS) == 36 and len({run.model for run in RUN.RUNS}) == 3
    for arm in RUN.ARMS:
        runs = [run for (name, *_), run in RUN.CELLS.items() if name == arm]
        assert len({(run.optimizer.rate, run.optimizer.warm_up, run.seed) for run in runs}) == 12


def test_marks_are_those_of_the_strings():
    single, pairs = Counter(), Counter()
    for number in range(4000):
        example = RUN.RUNS[0].source.train(RUN.LONGEST, 0)[number]
        tokens = example["tokens"][: example["length"] + 1].tolist()
        single.update(tokens[1:])
        pairs.update(zip(tokens, tokens[1:], strict=False))
    count = sum(single.values())
    before = Counter()
    for (first, _), times in pairs.items():
        before[first] += times
    unigram = -sum(times * np.log(times / count) for times in single.values()) / count
    previous = -sum(times * np.log(times / before[first]) for (first, _), times in pairs.items()) / count
    # of 4000 strings; losses have a deviation of about 1 over 28,000 tokens
    np.testing.assert_allclose([unigram, previous], [report.UNIGRAM, report.PREVIOUS], atol=0.02)


def test_all_hold_where_only_the_plain_arm_fails():
    assert held(found()) == [True] * 4


@pytest.mark.parametrize(
    "change, rules",
    [
        # a plain run that learned, however little
        (lambda cell: 2.09 if cell == (report.PLAIN, 1e-4, 0.1, 1) else None, [True, False, True, True]),
        # all plain runs without a number have learned nothing
        (lambda cell: np.inf if cell[0] == report.PLAIN else None, [True, True, True, True]),
        # one seed of every cell of an arm
        (lambda cell: 1.3 if cell[0] == report.BEFORE and cell[3] == 0 else None, [False, True, True, True]),
        (lambda cell: 2.1 if cell[0] == report.OURS and cell[3] == 1 else None, [True, True, False, False]),
        # it needs a warm-up
        (lambda cell: np.inf if cell[0] == report.OURS and not cell[2] else None, [True, True, False, True]),
        (lambda cell: 1.9 if cell[0] == report.OURS else None, [True, True, True, False]),
    ],
)
def test_what_breaks_a_rule(change, rules):
    assert held(found(change)) == rules


def test_a_missing_run_leaves_the_rules_of_its_arm_open():
    given = found()
    given.held[list(RUN.CELLS).index((report.OURS, 1e-3, 0.1, 1))] = None
    assert held(given) == [True, True, True, None]
    assert "Not yet decided: 1 runs are missing." in report.text(given)


def test_its_picture_is_drawn_of_all_and_of_none():
    for given in (found(), reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(given).axes) == 4
