"""Positive features: unbiased, with the variances of the paper's lemma and theorem; raw QR shown to be biased."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Place, Side
from jattn.parts.features.favor import Favor
from jattn.parts.features.projections import Projection
from jattn.parts.features.trigonometric import Trigonometric
from tests.parts.features.test_projections import draws

WIDTH = COUNT = 8
PLACE = Place(np.arange(1), 1, 1)
FEATURES = {
    "positive": Favor(floor=0),
    "hyperbolic": Favor(kernel="hyperbolic", floor=0),
    "trigonometric": Trigonometric(),
}
some_and_many = pytest.mark.parametrize("number", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])


def pairs() -> np.ndarray:
    """Twenty pairs of vectors of length 1."""
    drawn = np.random.default_rng(3).normal(size=(2, 20, WIDTH))
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def side(vector) -> Side:
    return Side(vector[:, None], None, None, None, None, len(vector), {})


def products(feature, matrix, x, y):
    """What a feature makes of the exponentials of products of rows; it divides both by the fourth root of the width."""
    own = {"projection": {"matrix": matrix}}
    (a, one), (b, other) = (feature.map(own, side(v * WIDTH**0.25), "key", PLACE) for v in (x, y))
    return ((a * b).sum(-1) * jnp.exp(one + other))[:, 0]


@jax.jit
def _estimates(matrices):
    x, y = jnp.asarray(pairs())
    return jax.vmap(lambda matrix: [products(feature, matrix, x, y) for feature in FEATURES.values()])(matrices)


@functools.cache
def estimates(kind: str, number: int) -> dict[str, np.ndarray]:
    """Of every feature and pair, one for each draw."""
    if kind == "raw":
        matrices = draws(Projection(WIDTH, "independent"), number)
        lengths = np.linalg.norm(matrices, axis=2, keepdims=True)
        matrices = lengths * np.linalg.qr(np.random.default_rng(0).normal(size=matrices.shape))[0].swapaxes(1, 2)
    else:
        matrices = draws(Projection(COUNT, kind.removesuffix("_fixed"), int(kind.endswith("_fixed"))), number)
    found = _estimates(jnp.asarray(matrices, jnp.float32))
    return {name: np.asarray(each, float) for name, each in zip(FEATURES, found, strict=True)}


def kernel() -> np.ndarray:
    """Softmax's, of the pairs."""
    x, y = pairs()
    return np.exp((x * y).sum(-1))


def deviation(found: np.ndarray) -> np.ndarray:
    """Of the mean from softmax's kernel, in standard errors."""
    return (found.mean(0) - kernel()) / (found.std(0) / len(found) ** 0.5)


@some_and_many
@pytest.mark.parametrize("kind", ["orthogonal", "independent"])
def test_the_mean_is_softmaxs_kernel(kind, number):
    for name, found in estimates(kind, number).items():
        assert np.abs(deviation(found)).max() < 4, name


@some_and_many
def test_raw_qr_is_biased_where_features_are_not_even(number):
    found = estimates("raw", number)
    assert np.abs(deviation(found["positive"])).max() > 20
    for name in ("hyperbolic", "trigonometric"):
        assert np.abs(deviation(found[name])).max() < 4, name


# the mean of squares of exponentials is known that well, of pairs that are not alike
@pytest.mark.parametrize("number, rtol", [(20_000, 0.2), pytest.param(200_000, 0.05, marks=pytest.mark.slow)])
def test_variances_of_independent_directions_are_those_of_lemma_2(number, rtol):
    x, y = pairs()
    near, far = (np.exp(-np.square(v).sum(-1)) for v in (x + y, x - y))
    positive = kernel() ** 2 / near * (1 - near) / COUNT
    want = {
        "positive": positive,
        "hyperbolic": positive * (1 - near) / 2,
        "trigonometric": (1 - far) ** 2 / near / kernel() ** 2 / 2 / COUNT,
    }
    unlike = near > np.exp(-1.8)
    assert unlike.sum() == 6
    for name, found in estimates("independent", number).items():
        squares = np.square(found - kernel()).mean(0)
        np.testing.assert_allclose(squares[unlike], want[name][unlike], rtol=rtol, err_msg=name)


def test_orthogonal_directions_gain_what_theorem_2_says():
    x, y = pairs()
    errors = {kind: np.square(estimates(kind, 20_000)["positive"] - kernel()) for kind in ("orthogonal", "independent")}
    bare = np.exp(-(np.square(x).sum(-1) + np.square(y).sum(-1)) / 2)
    gain = 2 * (COUNT - 1) / COUNT / (WIDTH + 2) * (kernel() - bare) ** 2
    slack = 3 * np.hypot(*(each.std(0) for each in errors.values())) / 20_000**0.5
    found = errors["independent"].mean(0) - errors["orthogonal"].mean(0)
    assert (found >= gain - slack).all()
    assert found.sum() > 0


def test_fixed_lengths_estimate_less():
    for name in ("positive", "hyperbolic"):
        found = deviation(estimates("orthogonal_fixed", 20_000)[name])
        assert found.max() < 4 and found.min() < -20, name


def test_the_floor_counts_as_published():
    rng = np.random.default_rng(0)
    matrix, vector = rng.normal(size=(COUNT, WIDTH)), rng.normal(size=(5, WIDTH))
    feature = Favor(floor=0.01)
    found, log = feature.map({"projection": {"matrix": jnp.asarray(matrix)}}, side(jnp.asarray(vector)), "key", PLACE)
    x = vector * WIDTH**-0.25
    projected = x @ matrix.T
    want = np.exp(projected - np.square(x).sum(-1, keepdims=True) / 2 - projected.max())
    # m^(-1/2) beside the floor is a factor of the whole, which rows divide by
    level = projected.max() - np.log(COUNT) / 2
    # float32: exponents of about 5
    np.testing.assert_allclose(found[:, 0] * np.exp(log - level), want, rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="kernel must be 'positive' or 'hyperbolic', got 'relu'"):
        Favor(kernel="relu")
    for floor in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"floor must be at least 0 and finite, got {floor}"):
            Favor(floor=floor)
