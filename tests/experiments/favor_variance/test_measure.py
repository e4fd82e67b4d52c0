"""What `measure.py` measures: formulas against integrals, and errors of a feature whose error is known."""

from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_variance"
measure = listed.executed(FOLDER / "measure.py")


def integrals(x, y):
    """Mean squared errors of one direction in a space of one dimension, by Gauss and Hermite."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(80)
    shares = shares / shares.sum()
    truth, origin = np.exp(x * y), np.exp(-(x**2 + y**2) / 2)
    found = {
        "trigonometric": np.cos(nodes * (x - y)) / origin,
        "positive": np.exp(nodes * (x + y)) * origin,
        "hyperbolic": np.cosh(nodes * (x + y)) * origin,
    }
    return {name: (shares * (each - truth) ** 2).sum() for name, each in found.items()}


@pytest.mark.parametrize("x, y", [(0.3, 0.8), (0.9, -0.7), (0.5, 0.5), (-1.0, 0.2)])
def test_formulas_are_the_integrals(x, y):
    held = measure.formulas(np.array([[x]]), np.array([[y]]), 1)
    for name, want in integrals(x, y).items():
        np.testing.assert_allclose(held[name][0], want, rtol=1e-9)


def test_bounds_meet_where_nothing_is_orthogonal_and_the_printed_one_is_below():
    x, y = measure.pairs()
    single = measure.bounds(x, y, 1)
    np.testing.assert_allclose(single["corrected"], single["independent"])
    eight = measure.bounds(x, y, 8)
    assert (eight["corrected"] < eight["independent"]).all() and (eight["conference"] < eight["corrected"]).all()
    # of opposite vectors, whose weight every direction gives exactly
    opposite = measure.bounds(x, -x, 8)
    np.testing.assert_allclose(opposite["corrected"], 0, atol=1e-12)
    assert (opposite["conference"] < 0).all()


def test_errors_of_a_few_draws_are_near_their_formulas():
    x, y = (0.5 * each[:3] for each in measure.pairs())
    for name, feature in measure.FEATURES.items():
        error, apart = measure.errors(measure.of(feature, 8, "independent"), x, y, 4000)
        assert (np.abs(error - measure.formulas(x, y, 8)[name]) < 5 * apart).all() and (apart < error / 5).all()


@pytest.mark.slow
def test_every_part_of_smoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.measures.main(["--smoke"], measure.HERE, measure.PARTS, measure.FULL, measure.SMALL) == 0
    home = tmp_path / "runs" / FOLDER.name / "smoke" / "results"
    assert {path.stem for path in home.iterdir()} == set(measure.PARTS)
    report = listed.executed(FOLDER / "report.py")
    assert report.reports.main(["--smoke"], FOLDER, report.text, report.picture, report.load) == 0
    assert (home.parent / "report.png").stat().st_size > 1000
