"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_stability"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ENDS = {report.POSITIVE: 2.05, report.TRIGONOMETRIC: 2.5, report.EXACT: 2.0}


def found(change=lambda cell: {}):
    """Results of all runs that hold to every rule, but where `change` of its cell gives another end or highest loss."""

    def result(cell):
        # the middle rate is the best of each arm
        end = ENDS[cell[0]] + 0.2 * (cell[1] != RUN.RATES[1])
        made = {"end": end, "high": 5.0 if cell[0] == report.TRIGONOMETRIC else 2.4} | change(cell)
        reached = {"diverged": 3} if made["end"] == np.inf else {"heldout_loss": made["end"], "train_loss": 2.0}
        points = [{"step": n, "loss": each} for n, each in enumerate((5.5, 2.3, made["high"], 2.0))]
        return {"reached": reached, "points": points, "machine": {"cores": 2}, "versions": {"jax": "1"}}

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def broken(given):
    return [name[0] for name, rule in report.RULES.items() if not rule(given).held]


def at(arm, **made):
    """Changes one seed of an arm at its best rate."""
    return lambda cell: made if cell == (arm, RUN.RATES[1], 1) else {}


def test_arms_have_the_same_grid():
    assert len(RUN.RUNS) == 18
    for arm in RUN.ARMS:
        assert len({(run.optimizer, run.seed) for (name, *_), run in RUN.CELLS.items() if name == arm}) == 6


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.POSITIVE, high=2.9), ["1"]),
        (at(report.POSITIVE, high=2.7), []),
        # one of two seeds is enough, both are not
        (at(report.TRIGONOMETRIC, high=2.4), []),
        (lambda cell: {"high": 2.4} if cell[:2] == (report.TRIGONOMETRIC, RUN.RATES[2]) else {}, ["2"]),
        # a run without a number is unstable
        (lambda cell: {"end": np.inf} if cell[:2] == (report.TRIGONOMETRIC, RUN.RATES[2]) else {}, []),
        (at(report.TRIGONOMETRIC, end=2.04), ["3"]),
        (lambda cell: {"end": 2.13} if cell[:2] == (report.POSITIVE, RUN.RATES[1]) else {}, ["4"]),
        # a rate that is not the best decides nothing but what is unstable
        (lambda cell: {"end": np.inf} if cell == (report.POSITIVE, RUN.RATES[0], 0) else {}, ["1"]),
    ],
)
def test_what_breaks_a_rule(change, rules):
    assert broken(found(change)) == rules


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == 4
    for each in (given, reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(each).axes) == 4
