"""The rules of `report.py` on made-up figures, and the bytes that it holds them against."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_recall"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
SHARES = {"exact": 1.0, "Mega": 0.99, "Mega, chunks of 12": 0.3, "Mega, chunks of 8": 0.1}


def found(**shares):
    """Shares that hold to every rule at the higher rate, less at the other, but for those of some arms."""

    def result(arm, rate):
        share = shares.get(arm, SHARES.get(arm, 0.15)) * (rate == RUN.RATES[1] or 0.5)
        reached = {"diverged": 3} if share == 0 else {"heldout_loss": 1.0, "heldout_accuracy": share}
        points = [{"step": 1, "loss": 4.0}, {"step": 9, "loss": 3.0}]
        return {"reached": reached, "points": points, "machine": {"cores": 2}, "versions": {"jax": "1"}}

    return reports.Found([result(*cell) for cell in RUN.CELLS], FOLDER)


def broken(given):
    return "".join(name[0] for name, rule in report.RULES.items() if not rule(given).held)


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == "" and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "shares, rules",
    [
        ({"exact": 0.98}, "1"),
        ({"Mega": 0.98}, "1"),
        # a run without a number answers nothing
        ({"Mega": 0.0}, "1"),
        ({"Mega without an average": 0.26}, "2"),
        ({"Mega, chunks of 8": 0.26, "Mega, chunks of 12": 0.5}, "3"),
        ({"Mega, chunks of 8": 0.25, "Mega, chunks of 12": 0.29}, "5"),
        ({"Mega, chunks of 8": 0.03}, "4"),
        ({"S4D": 0.26}, "6"),
    ],
)
def test_what_breaks_a_rule(shares, rules):
    assert broken(found(**shares)) == rules


def test_bytes_are_those_of_caches_averages_and_convolutions():
    one = report.state_bytes
    # float32 keys of 32 and values of 64, with position, segment and whether it is valid; averages of 16 a channel
    token = 4 * (32 + 64) + 4 + 4 + 1
    for arm, tokens in (("Mega", 24), ("Mega, chunks of 12", 12), ("Mega, chunks of 8", 8)):
        assert one("Mega") - one(arm) == (24 - tokens) * token
    # and the number of the segment that they are of
    assert one("Mega") - one("Mega without an average") == 4 * 16 * RUN.RECALL.WIDTH + 4
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    theirs = listed.executed(FOLDER.parent / "associative_recall" / "report.py").state_bytes("exact", 1)
    assert f"leaves out, {one('exact') - theirs:,}." in page


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == 6
    for each in (given, reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(each).axes) == 2
