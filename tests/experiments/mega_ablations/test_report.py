"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_ablations"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ENDS = {"expansion 0": 2.4, "expansion 1": 2.1, "chunk 16": 2.1, "chunk 32": 2.05, "Laplace": 2.02}


def found(**ends):
    """Results of all runs that hold to every rule, but for other ends of some arms."""
    held = {RUN.CELLS[arm, seed]: ENDS.get(arm, 2.0) for arm, seed in RUN.CELLS}
    held |= {RUN.CELLS[arm, seed]: end for arm, end in ends.items() for seed in RUN.SEEDS}
    made = [
        {
            "reached": {"diverged": 3} if held[run] == np.inf else {"heldout_loss": held[run]},
            "points": [], "machine": {"cores": 2}, "versions": {"jax": "1"},
        }
        for run in RUN.RUNS
    ]  # fmt: skip
    return reports.Found(made, FOLDER)


def broken(given):
    return [name[0] for name, rule in report.RULES.items() if not rule(given).held]


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "ends, rules",
    [
        ({"expansion 0": 2.04, "expansion 1": 2.0}, ["1"]),
        ({"expansion 1": 2.21}, ["2"]),
        ({"chunk 128": 2.07}, ["3"]),
        ({"chunk 128": 2.055}, []),
        ({"Laplace": 1.94}, ["4"]),
        ({"Laplace": np.inf}, ["4"]),
        # wider averages in between are told, and decide nothing
        ({"expansion 4": 3.0}, []),
    ],
)
def test_what_breaks_a_rule(ends, rules):
    assert broken(found(**ends)) == rules


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == 4
    for each in (given, reports.Found([None] * len(RUN.RUNS), FOLDER)):
        assert len(report.picture(each).axes) == 3
