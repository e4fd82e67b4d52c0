"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_language"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ENDS = dict(zip(RUN.MODELS, (2.0, 1.95, 1.99, 2.1), strict=True))


def found(change=lambda cell: {}):
    """Results of all runs that hold to every rule, but where `change` of its cell gives another end."""

    def result(cell):
        arm, rate, _ = cell
        # the first rate is the best of each model
        made = {"end": ENDS[arm] + 0.5 * (rate != RUN.RATES[0])} | change(cell)
        reached = {"diverged": 3} if made["end"] == np.inf else {"heldout_loss": made["end"]}
        points = [{"step": n, "loss": 2.5} for n in range(1, 401, 8)]
        return {"reached": reached, "points": points, "machine": {"cores": 2}, "versions": {"jax": "1"}}

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def broken(given):
    return [name[0] for name, rule in report.RULES.items() if not rule(given).held]


def at(arm, *seeds, end):
    """Changes some seeds of a model at its best rate, all where none is named."""
    return lambda cell: {"end": end} if cell[:2] == (arm, RUN.RATES[0]) and cell[2] in (seeds or RUN.SEEDS) else {}


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.MEGA, end=1.985), ["1"]),
        (at(report.CHUNK, end=1.999), []),
        (at(report.CHUNK, end=2.001), ["2", "3"]),
        (at(report.MEGA, end=1.93), ["3"]),
        (at(report.S4D, end=1.965), ["4"]),
        # where the best rate diverges the other one stands for the model
        (at(report.TRANSFORMER, 0, end=np.inf), []),
        (at(report.CHUNK, 1, end=np.inf), ["2", "3"]),
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
        assert len(report.picture(each).axes) == 2
