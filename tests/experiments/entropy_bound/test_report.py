"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import json
from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, names, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_bound"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
NAMES = [
    "instrument", "norm", "product",
    *(f"{rows} {what}" for rows in ("unmasked", "causal") for what in (
        "entropy", "theorem", "own", "above theorem", "above own",
    )),
]  # fmt: skip


@pytest.fixture
def found(tmp_path):
    """Measurements of all runs that hold to every rule, and a way to change one number of the last."""
    (tmp_path / report.ROWS).mkdir()

    def made(change=None):
        for number, ((arm, *_), run) in enumerate(RUN.CELLS.items()):
            points = [{"step": n, **{name: np.full((2, 3), 0.5).tolist() for name in NAMES}} for n in (0, 4)]
            for point in points:
                point["instrument"] = np.full((2, 3), 1e-5).tolist()
                point["product"] = np.full((2, 3), 2.0 if arm == "plain" else 1.0).tolist()
            if change is not None and number == len(RUN.RUNS) - 1:
                points[-1][change[0]][1][2] = change[1]
            held = {"loss": 2.0, "machine": {"cores": 2}, "versions": {"jax": "1"}, "points": points}
            file = tmp_path / report.ROWS / f"{names.digest(run)[: names.DIGITS]}.json"
            file.write_text(json.dumps(held))
        return reports.Found([None] * len(RUN.RUNS), tmp_path)

    return made


def held(given):
    return {name.partition(".")[0]: rule(given).held for name, rule in report.RULES.items()}


def test_the_arms_differ_in_one_option():
    assert len(RUN.RUNS) == 8 and len({run.model for run in RUN.RUNS}) == 2
    assert len({(run.optimizer, run.seed) for run in RUN.RUNS}) == 4


def test_without_figures_every_rule_is_open(tmp_path):
    assert set(held(reports.Found([None] * 8, tmp_path)).values()) == {None}
    told = report.text(reports.Found([None] * 8, tmp_path))
    assert told.startswith("**Not yet decided: 8 runs are missing.**")


def test_all_rules_hold_and_the_claim_with_them(found):
    assert set(held(found()).values()) == {True}
    assert report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "rule, change",
    [
        ("1", ("unmasked above theorem", -2e-6)),
        ("2", ("causal above theorem", -2e-6)),
        ("3", ("unmasked above own", -2e-6)),
        ("4", ("causal above own", -2e-6)),
        ("5", ("instrument", 2e-3)),
        # the last run is one with sigmaReparam: its six heads have a mean of 2 then
        ("6", ("product", 7.0)),
    ],
)
def test_one_head_at_one_moment_is_told(found, rule, change):
    verdicts = held(found(change))
    assert [number for number, each in verdicts.items() if each is False] == [rule]


def test_rounding_is_no_crossing(found):
    assert held(found(("unmasked above own", -5e-7)))["3"]


def test_a_picture_is_drawn_of_nothing_and_of_all(tmp_path, found):
    for number, given in enumerate((reports.Found([None] * 8, tmp_path / "none"), found())):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
