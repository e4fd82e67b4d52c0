"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_text"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
SHARES = dict(zip(RUN.MODELS, (0.7, 0.69, 0.6, 0.66), strict=True))


def found(**shares):
    """Results of all runs that hold to every rule, but for other shares of some models."""
    held = SHARES | {arm.replace("_", "-"): share for arm, share in shares.items()}
    points = [{"step": n, "loss": 1.0} for n in range(1, 401, 8)]
    made = [
        {
            "reached": {"heldout_accuracy": held[arm]},
            "points": points, "machine": {"cores": 2}, "versions": {"jax": "1"},
        }
        for arm, *_ in RUN.CELLS
    ]  # fmt: skip
    return reports.Found(made, FOLDER)


def broken(given):
    grid = report.PIXELS.Grid(RUN, given)
    return [name[0] for name, rule in report.RULES.items() if not rule(grid).held]


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "shares, rules",
    [
        (dict.fromkeys(("Mega", "Mega_chunk"), report.GUESS + 0.09) | {"S4D": 0.4, "Transformer": 0.35}, ["1"]),
        ({"Mega": 0.62, "S4D": 0.635}, ["2", "5"]),
        ({"Mega_chunk": 0.67}, ["3"]),
        ({"S4D": 0.62}, ["4"]),
        ({"S4D": 0.71}, ["5"]),
    ],
)
def test_what_breaks_a_rule(shares, rules):
    assert broken(found(**shares)) == rules


def test_what_is_always_right_so_often_is_the_commonest_kind():
    scenes = zip(*RUN.SOURCE._part(1), strict=True)
    counts = np.zeros(3)
    for scene, kind in scenes:
        # passages are as long as the context; the last one of a scene reaches back
        counts[kind] += -(-len(scene) // RUN.CONTEXT)
    assert report.GUESS == pytest.approx(counts.max() / counts.sum())


def test_bytes_that_follow_one_another_are_one_number():
    text = np.frombuffer(b"abca", np.uint8)
    assert report.joined(text, 1).tolist() == list(b"abca")
    assert report.joined(text, 2).tolist() == [97 + 256 * 98, 98 + 256 * 99, 99 + 256 * 97]


def test_pairs_of_bytes_tell_more_than_bytes_and_these_more_than_the_commonest_kind():
    assert report.GUESS + 0.05 < report.counted(1) < report.counted(2) - 0.05


def test_a_missing_run_leaves_all_open_and_pictures_are_drawn():
    given = found()
    given.held[0] = None
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and told.count("| open |") == len(report.RULES)
    for each in (given, reports.Found([None] * len(RUN.CELLS), FOLDER)):
        assert len(report.picture(each).axes) == 2
