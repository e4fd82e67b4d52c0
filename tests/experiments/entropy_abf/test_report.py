"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import json
from pathlib import Path

import pytest

from jattn.training.sweeps import listed, names, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_abf"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
UNTUNED = {report.PLAIN: 2.3, report.BASE: 2.2, report.PUBLISHED: 2.1, report.SHIPPED: 2.15}
TUNED = {report.PLAIN: 2.0, report.BASE: 1.9, report.PUBLISHED: 1.8, report.SHIPPED: 1.85}


@pytest.fixture
def found(tmp_path):
    """Measurements of all seeds that hold to every rule, and a way to change points of one seed."""
    (tmp_path / report.READ).mkdir()

    def made(change=lambda point: {}, seed=1):
        for number, run in RUN.CELLS.items():
            points = []
            for arm in RUN.ARMS:
                for rate in (0.0, *RUN.RATES):
                    for length in RUN.LENGTHS:
                        # the middle rate is the best of each arm
                        loss = TUNED[arm] + 0.3 * (rate != RUN.RATES[1]) if rate else UNTUNED[arm]
                        loss = 1.9 if length == RUN.CONTEXT else loss
                        moved = 0.1 if arm in (report.PUBLISHED, report.SHIPPED) else 0.3
                        entropy = [2.0 + moved * (length > RUN.CONTEXT)] * RUN.MODEL.depth
                        point = {"arm": arm, "rate": rate, "length": length, "loss": loss, "entropy": entropy}
                        points.append(point | (change(point) if number == seed else {}))
            held = {"digest": names.digest(run), "machine": {"cores": 2}, "versions": {"jax": "1"}, "points": points}
            (tmp_path / report.READ / f"seed-{number}.json").write_text(json.dumps(held))
        return reports.Found([None] * len(RUN.RUNS), tmp_path)

    return made


def broken(given):
    seeds = report.points(given)
    return [name[0] for name, rule in report.RULES.items() if not rule(seeds).held]


def at(arm, tuned, **change):
    """Changes what an arm reads at the longer length, at each rate that is tuned or not."""

    def changed(point):
        same = point["arm"] == arm and point["length"] == RUN.TARGET and bool(point["rate"]) == tuned
        return change if same else {}

    return changed


def test_all_hold_on_figures_that_hold_to_them(found):
    assert broken(found()) == []
    assert report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.PLAIN, False, loss=1.94), ["1"]),
        (at(report.PLAIN, True, loss=1.85), ["2"]),
        (at(report.BASE, False, loss=2.05), ["3"]),
        (at(report.BASE, True, loss=1.75), ["4"]),
        (at(report.PUBLISHED, True, loss=1.95), ["4", "5", "7"]),
        # further down than the base alone moves it up
        (at(report.PUBLISHED, False, entropy=[2.0, 2.0, 2.0, 1.0]), ["6"]),
        # layers that are not sharpened decide nothing
        (at(report.PUBLISHED, False, entropy=[9.0, 9.0, 2.1, 2.1]), []),
        (at(report.SHIPPED, True, loss=1.75), ["7"]),
    ],
)
def test_one_seed_breaks_a_rule(found, change, rules):
    assert broken(found(change)) == rules


def test_without_a_seed_every_rule_is_open(found):
    given = found()
    (given.home / report.READ / "seed-2.json").unlink()
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == len(report.RULES)
    assert len(report.picture(given).axes) == 3


def test_figures_of_another_run_count_nowhere(found):
    given = found()
    file = given.home / report.READ / "seed-0.json"
    file.write_text(file.read_text().replace(names.digest(RUN.CELLS[0]), "0"))
    assert report.points(given) is None


def test_its_picture_is_drawn_of_all(found, tmp_path):
    report.picture(found()).savefig(file := tmp_path / "all.png", dpi=40)
    assert file.stat().st_size > 1000
