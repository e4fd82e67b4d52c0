"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_collapse"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN


def result(loss=2.0, entropy=2.0):
    """Two layers of two heads; the loss is no number where None."""
    reached = {"diverged": 5} if loss is None else {"train_loss": loss, "heldout_loss": loss}
    points = [{"step": 1, "entropy": [[3.0, 3.0]] * 2}, {"step": 9, "entropy": [[3.0, 3.0], [0.0, 2 * entropy]]}]
    return {"reached": reached, "points": points, "machine": {}, "versions": {}}


def found(plain=0, ours=0, bad=result(entropy=0.1)):
    """The first so many runs of each arm are bad ones; those of sigmaReparam begin with no warm-up."""
    held, left = [], {report.PLAIN: plain, report.OURS: ours}
    for arm, *_ in RUN.CELLS:
        held.append(bad if left[arm] > 0 else result())
        left[arm] -= 1
    return reports.Found(held, FOLDER)


def verdict(rule, given):
    (name,) = [name for name in report.RULES if name.startswith(f"{rule}.")]
    return report.RULES[name](given)


def test_both_arms_have_the_same_grid_and_differ_in_one_option():
    assert len(RUN.RUNS) == 80 and len({run.seed for run in RUN.RUNS}) == 5
    for (arm, *cell), run in RUN.CELLS.items():
        other = RUN.CELLS[(report.OURS if arm == report.PLAIN else report.PLAIN, *cell)]
        assert (run.optimizer, run.steps, run.seed) == (other.optimizer, other.steps, other.seed)
    assert len({run.model for run in RUN.RUNS}) == 2


@pytest.mark.parametrize(
    "held, diverged, collapsed",
    [
        (result(), False, False),
        (result(loss=None), True, False),
        # all bytes as often as they come, without context
        (result(loss=3.33), True, False),
        (result(loss=3.32), False, False),
        # log(128!)/128 is 3.878, a twentieth of it 0.194
        (result(entropy=0.19), False, True),
        (result(entropy=0.2), False, False),
    ],
)
def test_what_diverged_and_what_collapsed(held, diverged, collapsed):
    assert (report.diverged(held), report.collapsed(held)) == (diverged, collapsed)
    assert report.failed(held) is (diverged or collapsed)


def test_a_run_that_diverged_at_once_has_no_entropy():
    assert not report.collapsed({"reached": {"diverged": 1}, "points": []})


@pytest.mark.parametrize("plain, ours, held", [(8, 4, True), (7, 3, False), (8, 5, True)])
def test_a_grid_on_which_little_fails_tests_nothing(plain, ours, held):
    assert verdict(1, found(plain, ours)).held is held


@pytest.mark.parametrize("plain, ours, held", [(8, 4, True), (8, 5, False), (0, 0, False)])
def test_failures_are_halved(plain, ours, held):
    assert verdict(2, found(plain, ours)).held is verdict(3, found(plain, ours)).held is held
    # what diverges has not collapsed
    assert verdict(3, found(plain, ours, result(loss=None))).held is False


def test_one_failure_without_warm_up_is_told():
    assert verdict(4, found(8, 0)).held and verdict(4, found(8, 1)) == (False, "1 of 20 fail")


def test_a_missing_run_opens_what_counts_it():
    given = found(8, 0)
    given.held[0] = None
    assert verdict(1, given) == report.OPEN and verdict(4, given).held
    assert report.text(given).startswith("**Not yet decided: 1 runs are missing.**")
    assert "| plain | 0% | 0.003 | 0 of 4 | 0 of 4 | 0 of 4 |" in report.text(given)


def test_a_picture_is_drawn_of_nothing_and_of_all(tmp_path):
    for number, given in enumerate((reports.Found([None] * 80, FOLDER), found(9, 2))):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
