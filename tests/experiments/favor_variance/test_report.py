"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed
from jattn.training.sweeps.measures import Measured

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_variance"
report = listed.executed(FOLDER / "report.py")
SIZES = {report.TRIGONOMETRIC: {0.25: 1, 0.5: 3, 0.75: 9, 1.0: 99}, report.POSITIVE: {0.25: 2, 0.5: 3, 0.75: 4, 1.0: 5}}


def found(part="", change=None, **match):
    """Figures that hold to every rule but where rows of a part are changed."""
    rows = {
        "lemma_2": [{"feature": "positive", "pair": n, "error": 1.04, "apart": 1e-3, "formula": 1.0} for n in range(3)],
        "theorem_2": [
            {"pair": n, "error": 0.5, "apart": 0.1, "independent": 0.6, "corrected": 0.4, "conference": n / 10 - 0.1}
            for n in range(3)
        ],
        "figure_2": [{"length": 1.0, "half_turns": 0.5, "ratio": 0.42, "formula": 0.4}],
        "figure_4": [
            {
                "feature": feature, "kind": kind, "count": count, "scale": scale,
                "errors": [SIZES.get(feature, SIZES["positive"])[scale] / count / (1 + (kind == "orthogonal"))] * 3,
            }
            for feature in report.MEASURE.FEATURES for kind in report.KINDS
            for count in report.COUNTS for scale in report.SCALES
        ],
    }  # fmt: skip
    for row in rows.get(part, []):
        if all(row[name] == value for name, value in match.items()):
            row.update(change)
    return Measured(rows, [{"machine": {"cores": 2}, "versions": {"jax": "1"}}])


def at(*cell):
    """A row of Figure 4."""
    return dict(zip(("feature", "kind", "count", "scale"), cell, strict=True))


def broken(given):
    return [name.partition(".")[0] for name, rule in report.RULES.items() if rule(given).held is False]


def test_all_hold_on_figures_that_hold_to_them():
    assert broken(found()) == [] and report.text(found()).startswith("**The claim is upheld here.**")


@pytest.mark.parametrize(
    "rules, part, change, match",
    [
        (["1"], "lemma_2", {"error": 1.06}, {"pair": 2}),
        # far off, and no more than its own uncertainty
        ([], "lemma_2", {"error": 1.3, "apart": 0.1}, {"pair": 2}),
        (["2"], "theorem_2", {"error": 0.71}, {"pair": 0}),
        (["3"], "theorem_2", {"conference": 0.3}, {}),
        (["4"], "figure_2", {"ratio": 0.45}, {}),
        (["6"], "figure_4", {"errors": [1.0, 0.02, 1.0]}, at("positive", "orthogonal", 64, 0.5)),
        # the median of the seeds decides
        ([], "figure_4", {"errors": [9.0, 0.01, 0.01]}, at("positive", "orthogonal", 64, 0.5)),
        (["7"], "figure_4", {"errors": [0.03]}, at("positive", "orthogonal", 256, 1.0)),
        (["8"], "figure_4", {"errors": [0.009]}, at("trigonometric", "orthogonal", 256, 1.0)),
        (["9"], "figure_4", {"errors": [1e-4]}, at("positive", "orthogonal", 256, 0.25)),
        (["9", "10"], "figure_4", {"errors": [1.0]}, at("trigonometric", "independent", 256, 0.25)),
    ],
)  # fmt: skip
def test_what_breaks_a_rule(rules, part, change, match):
    assert broken(found(part, change, **match)) == rules


def test_the_surface_is_that_of_the_paper_at_points_by_hand():
    # at a right angle the weight is 1: half of (1 - e^(-2 l^2))
    right = report.surface(report.np.array([0.5, 1.0]), report.np.array([0.5]))[:, 0]
    report.np.testing.assert_allclose(right, (1 - report.np.exp([-0.5, -2.0])) / 2)


def test_without_figures_every_rule_is_open_and_a_picture_is_drawn(tmp_path):
    nothing = Measured({}, [])
    told = report.text(nothing)
    assert told.startswith("**Not yet decided: 1. ") and told.count("| open |") == len(report.RULES)
    for number, given in enumerate((nothing, found())):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
