"""The rules of `report.py` on made-up figures, and the bytes that it holds them against."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "associative_recall"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
LAST = {arm: len(sizes) - 1 for arm, sizes in RUN.ARMS.items()}


def found(change=lambda cell: None):
    """Shares that grow with the size, more by the delta rule, but where `change` of a cell gives another."""

    def result(cell):
        arm, size, rate = cell
        if (value := change(cell)) is None:
            value = 1.0 if arm == report.EXACT else 0.3 + 0.2 * size + 0.1 * (arm == report.DELTA)
            value -= 0.2 * (rate != RUN.RATES[1])
        reached = {"diverged": 3} if value == 0 else {"heldout_loss": 1.0, "heldout_accuracy": value}
        return {"reached": reached, "points": [], "machine": {}, "versions": {}}

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def held(given):
    return [rule(given).held for rule in report.RULES.values()]


def test_arms_have_the_same_grid():
    for arm, sizes in RUN.ARMS.items():
        cells = [cell for cell in RUN.CELLS if cell[0] == arm]
        assert sorted(cells) == sorted((arm, size, rate) for size in range(len(sizes)) for rate in RUN.RATES)
    assert len({(run.steps, run.batch, run.source, run.seed) for run in RUN.RUNS}) == 1


def test_bytes_are_those_of_the_arrays():
    # a matrix a head of the delta rule, how many tokens and the number of the segment, and how many tokens in all
    want = [4 * (RUN.WIDTH**2 // heads + 3) for heads in RUN.HEADS]
    assert [report.state_bytes(report.DELTA, size) for size in range(len(want))] == want
    for arm in report.LINEAR:
        sizes = [report.state_bytes(arm, size) for size in range(len(RUN.ARMS[arm]))]
        assert sizes == sorted(sizes) and sizes[-1] > 4 * sizes[0]
    # keys and values of every token, and what a cache says of it
    for size in range(len(RUN.ARMS[report.EXACT])):
        assert report.state_bytes(report.EXACT, size) >= 4 * 2 * RUN.WIDTH * RUN.CONTEXT


def test_all_hold_where_they_should():
    assert held(found()) == [True] * 4


@pytest.mark.parametrize(
    "change, rules",
    [
        (lambda cell: 0.98 if cell[:2] == (report.EXACT, 0) else None, [False, True, True, True]),
        # the best rate counts, and a run without a number answers nothing
        (lambda cell: 0 if cell[2] == RUN.RATES[0] else None, [True] * 4),
        (lambda cell: 0.33 if cell[:2] == ("FAVOR+", LAST["FAVOR+"]) else None, [True, False, True, True]),
        (lambda cell: 0.99 if cell[:2] == ("Hedgehog", 0) else None, [True, False, False, True]),
        (lambda cell: 0.48 if cell[:2] == ("gated", 0) else None, [True, True, True, False]),
        # both answer all
        (lambda cell: 0.995 if cell[1] == LAST[cell[0]] else None, [True] * 4),
    ],
)
def test_what_breaks_a_rule(change, rules):
    assert held(found(change)) == rules


def test_a_missing_run_leaves_the_rules_open():
    given = found()
    given.held[4] = None
    told = report.text(given)
    assert "Not yet decided: 1 runs are missing." in told and told.count("| open |") == 4


def test_its_picture_is_drawn_of_all_and_of_none():
    for given in (found(), reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(given).axes) == 1
