"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "sigma_reparam_vision"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
CHOSEN = {arm: rates[1] for arm, (_, _, rates) in RUN.ARMS.items()}


def result(accuracy=0.95):
    """Four layers of four heads; the run diverged where None."""
    reached = {"diverged": 5} if accuracy is None else {"heldout_accuracy": accuracy}
    points = [{"step": n, "entropy": [[2.0] * 4] * 4} for n in (1, 800)]
    return {"reached": reached, "points": points, "machine": {}, "versions": {}}


@pytest.fixture
def found(monkeypatch):
    """Makes results in which each arm reaches what is given, the grid's at another rate a little less."""
    monkeypatch.setattr(RUN, "CHOSEN", CHOSEN)
    judged = {(arm, rate, seed): None for seed in RUN.SEEDS for arm, rate in CHOSEN.items()}
    monkeypatch.setattr(RUN, "CELLS", RUN.GRID | judged)

    def make(*reached):
        by_arm = dict(zip(RUN.ARMS, reached, strict=True))
        held = [
            result(None if by_arm[arm] is None else by_arm[arm] - 0.1 * (rate != CHOSEN[arm]))
            for arm, rate, _ in RUN.CELLS
        ]
        return reports.Found(held, FOLDER)

    return make


def verdicts(given):
    return [rule(given).held for rule in report.RULES.values()]


@pytest.mark.parametrize(
    "reached, held",
    [
        ((0.95, 0.95, 0.9, 0.9), [True, True, True]),
        ((0.95, 0.9405, 0.9, 0.9), [True, True, True]),
        ((0.95, 0.9395, 0.9, 0.9), [True, False, True]),
        ((0.89, 0.95, 0.9405, 0.9), [False, True, False]),
        ((0.95, 0.95, 0.99, 0.9), [True, True, False]),
        ((0.95, 0.95, None, 0.9), [True, True, True]),
        ((None, 0.95, 0.9, 0.9), [False, True, True]),
    ],
)
def test_verdicts_of_made_up_means(found, reached, held):
    assert verdicts(found(*reached)) == held


def test_one_run_that_diverged_is_a_failure_of_the_rest(found):
    given = found(0.95, 0.5, 0.99, 0.9)
    cells = list(RUN.CELLS)
    given.held[cells.index((report.NEITHER, CHOSEN[report.NEITHER], 3))] = result(None)
    assert report.RULES["3. the same without sigmaReparam is more than a point worse, or diverges"](given).held


def test_the_best_rate_of_the_grid_is_chosen_the_lower_of_two_alike(found):
    given = found(0.95, 0.95, None, 0.95)
    assert {arm: report.chosen(given, arm) for arm in RUN.ARMS} == CHOSEN | {report.NEITHER: 0.003}
    given.held[0] = None
    assert report.chosen(given, report.BASELINE) is None
    assert report.text(given).startswith("**Not yet decided: 1 runs are missing.**")


def test_the_rates_that_count_are_those_that_the_grid_chose():
    there = reports.load(FOLDER, FOLDER / "results")
    assert {arm: report.chosen(there, arm) for arm in RUN.CHOSEN} == RUN.CHOSEN


def test_a_picture_is_drawn_of_nothing_and_of_all(found, tmp_path):
    for number, given in enumerate((reports.Found([None] * len(RUN.CELLS), FOLDER), found(0.95, None, 0.9, 0.9))):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
