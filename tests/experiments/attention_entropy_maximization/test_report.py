"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "attention_entropy_maximization"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN


def found(change=lambda cell: {}):
    """Runs that hold to every rule, but where `change` of a cell gives other figures; the second rate is the best."""

    def result(cell):
        weight, rate, _ = cell
        right = (0.72 if weight == report.OURS else 0.7) - 0.05 * (rate == RUN.RATES[0])
        held = {"right": right, "loss": 0.6 if weight == report.OURS else 0.7, "entropy": 1 + weight} | change(cell)
        reached = {"heldout_loss": held["loss"], "heldout_accuracy": held["right"], "train_loss": 0.1}
        if held["loss"] == np.inf:
            reached = {"diverged": 3, "heldout_loss": None, "train_loss": None}
        points = [
            {"step": 1, "loss": 1.0, "entropy": [[2.5]]},
            {"step": 4, "loss": 1.0, "entropy": [[held["entropy"]]]},
        ]
        return {"reached": reached, "points": points, "machine": {}, "versions": {}}

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def held(given):
    return [rule(given).held for rule in report.RULES.values()]


def at(weight, seed, rates=RUN.RATES, **figures):
    return lambda cell: figures if cell[0] == weight and cell[2] == seed and cell[1] in rates else {}


def test_every_weight_has_the_same_grid():
    grids = {weight: [cell[1:] for cell in RUN.CELLS if cell[0] == weight] for weight in RUN.WEIGHTS}
    assert len(RUN.RUNS) == 32 and len({tuple(grid) for grid in grids.values()}) == 1
    assert {run.objective.penalty.weight for run in RUN.RUNS} == set(RUN.WEIGHTS)


def test_all_hold_on_figures_that_hold_to_them():
    assert held(found()) == [True] * 4
    assert report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.NONE, 1, right=0.59), [False, True, True, True]),
        # of one rate alone: the other is the best still
        (at(report.NONE, 1, RUN.RATES[:1], right=0.5), [True] * 4),
        (at(report.OURS, 2, RUN.RATES[:1], entropy=0.9), [True, False, True, True]),
        # three seeds are two points above, one six below: none on average
        (at(report.OURS, 3, right=0.64), [True, True, False, True]),
        (at(report.OURS, 0, loss=0.75), [True, True, True, False]),
        (at(report.OURS, 0, loss=np.inf), [True, True, False, False]),
        # other weights decide nothing
        (at(0.5, 0, loss=9.0, right=0.0, entropy=0.0), [True] * 4),
    ],
)
def test_what_breaks_a_rule(change, rules):
    assert held(found(change)) == rules


def test_a_missing_run_leaves_every_rule_open():
    given = found()
    given.held[3] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == 4


def test_its_picture_is_drawn_of_all_and_of_none():
    for given in (found(), reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(given).axes) == 3
