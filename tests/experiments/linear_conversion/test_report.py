"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import json
from pathlib import Path

import pytest

from jattn.training.sweeps import listed, names, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "linear_conversion"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
FAVOR, HEDGEHOG, LLN = RUN.FEATURES
LOSSES = {
    RUN.SOFTMAX: {"tuned": 1.6},
    FAVOR: {"softmax": 1.6, "converted": 2.0, "tuned": 1.65},
    HEDGEHOG: {"softmax": 1.6, "converted": 2.5, "distilled": 1.9, "mimicry": 2.1, "tuned": 1.61},
    LLN: {"softmax": 1.6, "converted": 2.4, "tuned": 1.66},
}


@pytest.fixture
def found(tmp_path):
    """Results that hold to every rule, and a way to change some of one seed."""
    (tmp_path / report.CONVERTED).mkdir()

    def made(change=None, scratch=None, seed=2):
        for number in RUN.SEEDS:
            for arm, losses in LOSSES.items():
                mine = losses | ((change or {}).get(arm, {}) if number == seed else {})
                points = [{"step": 1, "loss": 2.0}, {"step": 100, "loss": 1.7, "heldout_loss": mine["tuned"]}]
                held = {
                    "tuned": names.digest(RUN.tuned(number, arm)), "losses": mine, "points": points,
                    "machine": {"cores": 2}, "versions": {"jax": "1"},
                }  # fmt: skip
                name = f"{arm.rstrip('+').lower()}-seed-{number}.json"
                (tmp_path / report.CONVERTED / name).write_text(json.dumps(held))
        swept = []
        for arm, steps, number in RUN.CELLS:
            loss = {RUN.STEPS: 1.6, RUN.TUNING: 2.2, RUN.STEPS + RUN.TUNING: 1.7}[steps]
            loss = (scratch or {}).get((arm, steps), loss) if number == seed else loss
            swept.append({"reached": {"heldout_loss": loss}, "machine": {"cores": 2}, "versions": {"jax": "1"}})
        return reports.Found(swept, tmp_path)

    return made


def broken(given):
    held = report.losses(given)
    return [name[0] for name, rule in report.RULES.items() if not report.decided(rule, held).held]


def test_all_hold_on_figures_that_hold_to_them(found):
    assert broken(found()) == []
    assert report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "change, scratch, rules",
    [
        ({FAVOR: {"converted": 1.69}}, {}, ["1"]),
        ({LLN: {"converted": 1.95}}, {}, ["2"]),
        ({HEDGEHOG: {"distilled": 2.55}}, {}, ["3"]),
        ({}, {(LLN, RUN.TUNING): 1.65}, ["4"]),
        # by the mean, which one seed may lift alone
        ({FAVOR: {"tuned": 1.75}}, {}, []),
        ({FAVOR: {"tuned": 1.9}}, {}, ["5"]),
        ({}, {(FAVOR, RUN.STEPS + RUN.TUNING): 1.5}, ["5"]),
        ({HEDGEHOG: {"tuned": 1.62}}, {}, ["6"]),
        # further training of softmax counts for it
        ({RUN.SOFTMAX: {"tuned": 1.59}}, {}, ["6"]),
    ],
)
def test_one_seed_breaks_a_rule(found, change, scratch, rules):
    assert broken(found(change, scratch)) == rules


def test_without_a_seed_of_an_arm_the_rules_that_ask_for_it_are_open(found):
    given = found()
    (given.home / report.CONVERTED / "lln-seed-3.json").unlink()
    given = given._replace(held=[None, *given.held[1:]])
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**")
    assert [line[2] for line in told.splitlines() if "| open |" in line] == ["1", "2", "4", "5"]
    assert "| LLN | 1.600 (0.000) of 2 | 2.400 (0.000) of 2 | – | 1.660 (0.000) of 2 | 2.200 (0.000) |" in told


def test_figures_of_another_run_count_nowhere(found):
    given = found()
    file = given.home / report.CONVERTED / "favor-seed-1.json"
    file.write_text(file.read_text().replace(names.digest(RUN.tuned(1, FAVOR)), "0"))
    assert (FAVOR, 1) not in report.conversions(given) and len(report.losses(given)[FAVOR]["tuned"]) == 2


def test_of_nothing_a_page_and_a_picture_are_made(tmp_path):
    nothing = reports.Found([None] * len(RUN.RUNS), tmp_path)
    assert report.text(nothing).count("| open |") == len(report.RULES)
    assert len(report.picture(nothing).axes) == 2


def test_the_table_and_picture_hold_every_loss(found, tmp_path):
    told = report.text(found())
    assert "| FAVOR+ | 1.600 (0.000) | 2.000 (0.000) | – | 1.650 (0.000) | 2.200 (0.000) | 1.700 (0.000) |" in told
    assert "in nats by seed: 2.100, 2.100, 2.100." in told
    figure = report.picture(found())
    assert len(figure.axes[0].containers) == 2 * len(report.COLUMNS)
    figure.savefig(file := tmp_path / "all.png", dpi=40)
    assert file.stat().st_size > 1000
