"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import json
from pathlib import Path

import pytest

from jattn.training.sweeps import listed, names, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_backward_compatible"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ANEW = {"directions": "anew"}


def cells():
    """Every point of a seed but its figures."""
    yield {"arm": "softmax", "weights": "scratch", "rate": 0.003, "step": RUN.STEPS}
    for arm in RUN.ARMS:
        for weights in ("softmax", "scratch"):
            for rate in RUN.RATES:
                same = {"arm": arm, "weights": weights, "rate": rate}
                yield from ({**same, "step": step} for step in RUN.READ_AT)
                yield {**same, "step": RUN.READ_AT[-1], **ANEW}


def made(cell):
    if cell["arm"] == "softmax":
        return {"loss": 2.0, "accuracy": 0.4}
    if cell["weights"] == "scratch":
        return {"loss": 3.0, "accuracy": 0.2}
    if not cell["step"]:
        return {"loss": 4.0, "accuracy": 0.1}
    # the second rate is the best
    loss = 2.05 + 0.01 * (cell["arm"] == report.KEPT) + 0.3 * (cell["rate"] == RUN.RATES[0])
    return {"loss": loss + 0.02 * ("directions" in cell) * (cell["arm"] == report.KEPT), "accuracy": 0.35}


@pytest.fixture
def found(tmp_path):
    """Figures of all seeds that hold to every rule, and a way to change points of one seed."""
    (tmp_path / report.READ).mkdir()

    def held(change=lambda cell: {}, seed=1):
        for number, run in RUN.CELLS.items():
            points = [cell | made(cell) | (change(cell) if number == seed else {}) for cell in cells()]
            whole = {"digest": names.digest(run), "machine": {"cores": 2}, "versions": {"jax": "1"}, "points": points}
            (tmp_path / report.READ / f"seed-{number}.json").write_text(json.dumps(whole))
        return reports.Found([None] * len(RUN.RUNS), tmp_path)

    return held


def at(arm, weights="softmax", step=RUN.READ_AT[-1], directions=None, **change):
    """Changes an arm at a step, at both rates."""

    def changed(cell):
        same = (cell["arm"], cell["weights"], cell["step"]) == (arm, weights, step)
        return change if same and cell.get("directions") == directions else {}

    return changed


def broken(given):
    seeds = report.points(given)
    return [name[0] for name, rule in report.RULES.items() if not rule(seeds).held]


def test_all_hold_on_figures_that_hold_to_them(found):
    assert broken(found()) == []
    assert report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, rules",
    [
        (at(report.REDRAWN, step=0, accuracy=0.21), ["1"]),
        (at(report.REDRAWN, loss=2.11), ["2", "4"]),
        (at(report.KEPT, "scratch", loss=2.0), ["3"]),
        (at(report.KEPT, loss=2.0), ["4"]),
        (at(report.REDRAWN, directions="anew", loss=2.09), ["5"]),
        # on the way nothing is decided
        (at(report.REDRAWN, step=RUN.READ_AT[1], loss=9.0), []),
    ],
)
def test_one_seed_breaks_a_rule(found, change, rules):
    assert broken(found(change)) == rules


def test_without_a_seed_every_rule_is_open(found):
    given = found()
    (given.home / report.READ / "seed-2.json").unlink()
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == len(report.RULES)
    assert len(report.picture(given).axes) == 2


def test_figures_of_another_run_count_nowhere(found):
    given = found()
    file = given.home / report.READ / "seed-0.json"
    file.write_text(file.read_text().replace(names.digest(RUN.CELLS[0]), "0"))
    assert report.points(given) is None


def test_its_picture_is_drawn_of_all(found, tmp_path):
    report.picture(found()).savefig(file := tmp_path / "all.png", dpi=40)
    assert file.stat().st_size > 1000
