"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed
from jattn.training.sweeps.measures import Measured

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_cost"
report = listed.executed(FOLDER / "report.py")


def found(part="", change=None, **match):
    """Figures that hold to every rule but where rows of a part are changed; tokens stand for milliseconds and bytes."""
    size = {report.CHUNK: lambda n: 1.0 * n, report.WHOLE: lambda n: n**2 / 100}
    read = {arm: size.get(arm, lambda n: n**2 / 1000) for arm in report.MEASURE.ARMS}
    rows = {
        "times": [
            {"arm": arm, "length": n, "ms": [read[arm](n)] * 3}
            for n, _, arms in report.MEASURE.FULL.timed
            for arm in arms
        ],
        "memory": [{"arm": arm, "length": n, "bytes": read[arm](n)} for n in report.COMPILED for arm in read],
        "chip": [{"arm": arm, "length": n, "bytes": None if n > 2**14 else n} for n in report.CHIP for arm in read],
    }  # fmt: skip
    for row in rows.get(part, []):
        if all(row[name] == value for name, value in match.items()):
            row.update(change)
    return Measured(rows, [{"machine": {"cores": 2}, "versions": {"jax": "1"}}])


def broken(given):
    return [name.partition(".")[0] for name, rule in report.RULES.items() if rule(given).held is False]


def test_all_hold_on_figures_that_hold_to_them():
    told = report.text(found())
    assert broken(found()) == [] and told.startswith("**The claim is upheld here.**") and "does not fit" in told


@pytest.mark.parametrize(
    "rules, part, change, arm, length",
    [
        (["1"], "times", {"ms": [2**16 * 1.06]}, report.CHUNK, 2**16),
        # the two shortest lengths decide nothing
        ([], "times", {"ms": [1.0]}, report.CHUNK, 2**10),
        (["2"], "memory", {"bytes": 2**14 * 1.06}, report.CHUNK, 2**14),
        (["3"], "memory", {"bytes": 2**12 - 1}, report.MEGA, 2**12),
        (["4"], "times", {"ms": [2**24 / 99]}, report.MEGA, 2**12),
        # tiles of the Transformer are told, and decide nothing
        ([], "memory", {"bytes": 1.0}, report.TILES, 2**12),
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
