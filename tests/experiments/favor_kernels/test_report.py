"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import math
from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, names, reports

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FOLDER = EXPERIMENTS / "favor_kernels"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ENDS = dict(zip(RUN.ARMS, (2.0, 2.06, 2.05, 2.04, 2.5, 2.3), strict=True))


def found(change=lambda cell: {}):
    """Results of all runs that hold to every rule, but where `change` of its cell gives another end or middle."""

    def result(cell):
        task, arm, rate, _ = cell
        # the first rate is the best of each arm
        made = {"end": (1 if task == report.TEXT else 0.1) * ENDS[arm] + 0.5 * (rate != RUN.RATES[0])}
        made |= {"middle": 2.4 if arm == report.SMREG else 2.5} | change(cell)
        reached = {"diverged": 3} if made["end"] == np.inf else {"heldout_loss": made["end"]}
        points = [{"step": n, "loss": made["middle"] if 150 <= n <= 250 else 9.0} for n in range(1, 401, 8)]
        return {
            "reached": reached | {"steps": 400}, "points": points, "machine": {"cores": 2}, "versions": {"jax": "1"},
        }  # fmt: skip

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def broken(given):
    return [name[0] for name, rule in report.RULES.items() if not rule(given).held]


def at(task, arm, *seeds, **made):
    """Changes some seeds of an arm at its best rate, all where none is named."""
    return lambda cell: made if cell[:3] == (task, arm, RUN.RATES[0]) and cell[3] in (seeds or RUN.SEEDS) else {}


def test_arms_have_the_same_grid():
    assert len(RUN.RUNS) == 40
    for task, (*_, arms) in RUN.TASKS.items():
        grids = [
            {(r.optimizer, r.seed) for (t, a, *_), r in RUN.CELLS.items() if (t, a) == (task, arm)} for arm in arms
        ]
        assert all(grid == grids[0] and len(grid) == 4 for grid in grids)


def test_runs_of_favor_stability_are_these_runs():
    other = listed.executed(EXPERIMENTS / "favor_stability" / "run.py")
    assert len({names.digest(run) for run in RUN.RUNS} & {names.digest(run) for run in other.RUNS}) == 12


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.TEXT, report.SMREG, end=2.11), ["1"]),
        (at(report.TEXT, report.TRIGONOMETRIC, 1, end=2.05), ["2"]),
        (at(report.TEXT, report.RELU, end=2.07), ["3"]),
        (at(report.TEXT, report.SMREG, 0, middle=2.5), ["4"]),
        # 0.05 bits are 0.035 nats
        (at(report.IMAGES, report.RELU, end=0.207 + 0.05 * math.log(2)), ["5"]),
        (at(report.IMAGES, report.RELU, end=0.205 + 0.04 * math.log(2)), []),
        # exponentials are told, and decide nothing
        (at(report.TEXT, report.EXP, end=np.inf), []),
        # where the best rate diverges the other one stands for the arm
        (at(report.TEXT, report.RELU, 0, end=np.inf), ["1", "2", "3"]),
    ],
)
def test_what_breaks_a_rule(change, rules):
    assert broken(found(change)) == rules


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == 5
    for each in (given, reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(each).axes) == 4
