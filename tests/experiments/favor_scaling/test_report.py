"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed
from jattn.training.sweeps.measures import Measured

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_scaling"
report = listed.executed(FOLDER / "report.py")
SHARES = {report.BOUND: 1.0, report.OURS: 1.4, "ReLU": 1.2}


def found(part="", change=None, **match):
    """Figures that hold to every rule but where rows of a part are changed; tokens stand for milliseconds and bytes."""
    times = [
        {"arm": arm, "length": n, "ms": [n * SHARES.get(arm, n / 2000)] * 3}
        for arm in report.MEASURE.TIMED
        for n in report.TIMED
    ]
    memory = [
        {"arm": arm, "length": n, "bytes": n * (SHARES.get(arm, 2.0) if arm != report.WHOLE else n / 2000)}
        for arm in report.MEASURE.ARMS
        for n in report.COMPILED
    ]
    rows = {"times": times, "memory": memory}
    for row in rows.get(part, []):
        if all(row[name] == value for name, value in match.items()):
            row.update(change)
    return Measured(rows, [{"machine": {"cores": 2}, "versions": {"jax": "1"}}])


def broken(given):
    return [name.partition(".")[0] for name, rule in report.RULES.items() if rule(given).held is False]


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "rules, part, change, arm, length",
    [
        (["1"], "times", {"ms": [2**10 * 0.8] * 3}, report.OURS, 2**10),
        # the shortest length decides nothing
        ([], "times", {"ms": [1.0]}, report.OURS, 2**9),
        (["2"], "times", {"ms": [2**12 * 0.9] * 3}, report.BOUND, 2**12),
        # a round in which the machine was slow says nothing
        ([], "times", {"ms": [2**12 * 0.5, 2**12, 2**12]}, report.BOUND, 2**12),
        (["3"], "times", {"ms": [2**13 * 1.3] * 3}, report.EXACT, 2**13),
        (["4"], "memory", {"bytes": 2**14 * 1.2}, report.OURS, 2**14),
        (["5"], "memory", {"bytes": 2**17 * 0.9}, report.BOUND, 2**17),
        (["6"], "memory", {"bytes": 2**15 * 13}, report.WHOLE, 2**15),
        (["6"], "memory", {"bytes": 2**17 * 50}, report.WHOLE, 2**17),
    ],
)
def test_what_breaks_a_rule(rules, part, change, arm, length):
    assert broken(found(part, change, arm=arm, length=length)) == rules


def test_without_figures_every_rule_is_open_and_a_picture_is_drawn(tmp_path):
    nothing = Measured({}, [])
    told = report.text(nothing)
    assert told.startswith("**Not yet decided: 1. ") and told.count("| open |") == len(report.RULES)
    for number, given in enumerate((nothing, found())):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
