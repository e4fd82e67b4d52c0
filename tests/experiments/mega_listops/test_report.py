"""The rules and baselines of `report.py` on what is made up, and what it prints and draws of what is there."""

from pathlib import Path

import pytest

from jattn.training.data.listops import WORDS
from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_listops"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
ENDS = dict(zip(RUN.MODELS, (0.5, 0.6, 0.56, 0.59, 0.4), strict=True))
BASELINES = dict(zip(report.BASELINES, (0.12, 0.25, 0.4), strict=True))


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(report, "baselines", lambda: BASELINES)


def found(**ends):
    """Results of all runs that hold to every rule, but for other ends of some models at their best rate."""

    def result(cell):
        arm, rate, _ = cell
        # the last rate is the worst of each model
        end = (ENDS | ends)[arm] if rate == RUN.RATES[0] else 0.1
        points = [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.5, "heldout_accuracy": end}]
        reached = {"diverged": 3} if end is None else {"heldout_accuracy": end}
        return {
            "reached": reached, "points": points[: 1 if end is None else 2], "machine": {"cores": 2},
            "versions": {"jax": "1"},
        }  # fmt: skip

    return reports.Found([result(cell) for cell in RUN.CELLS], FOLDER)


def broken(given, held=False):
    return [name[0] for name, each in report.judge(given).items() if each.held is held]


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "ends, rules",
    [
        ({"Transformer": 0.555}, ["2", "3"]),
        ({"Mega-chunk": 0.54}, ["3", "4"]),
        ({"S4D": 0.61}, ["5"]),
        ({"Performer": 0.46}, ["6"]),
        # where the best rate diverges the other one stands for the model
        ({"Performer": None}, []),
        ({"Mega-chunk": None}, ["3", "4"]),
    ],
)
def test_what_breaks_a_rule(ends, rules):
    assert broken(found(**ends)) == rules


def test_models_that_learned_little_leave_the_other_rules_open():
    # more than 10 points above the majority
    given = found(**dict.fromkeys(RUN.MODELS, 0.34))
    assert broken(given) == ["1"] and broken(given, None) == ["2", "3", "4", "5", "6"]
    assert "1" not in broken(found(**dict.fromkeys(RUN.MODELS, 0.36)))


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == len(report.RULES)
    for each in (given, found(Mega=None), reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(each).axes) == 2


@pytest.mark.parametrize(
    "words, operator, worth",
    [
        ("[MAX 2 [MIN 9 8 ] 5 ]", "[MAX", 5),
        ("[SM [MIN 1 2 ] 7 [MED 4 [MAX 9 9 ] ] 6 ]", "[SM", 3),
        ("[MED [MIN 1 2 ] [MIN 3 4 ] ]", "[MED", None),
    ],
)
def test_one_level_passes_over_lists_inside(words, operator, worth):
    assert report.one_level([WORDS.index(word) for word in words.split()]) == (WORDS.index(operator), worth)
