"""Functions of the vector or of its projections, against the released code's formula."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.numerics import RAISED
from jattn.part import Dims
from jattn.parts.features.generalized import FUNCTIONS, Generalized
from jattn.parts.features.projections import Projection
from tests.parts.features.test_favor import PLACE, side

# compared to float32 rounding of sums of eight products
RTOL = 1e-5
VECTORS = np.random.default_rng(0).normal(size=(5, 8))


def mapped(feature, vectors=VECTORS, own=None):
    found, log = feature.map(own or {}, side(jnp.asarray(vectors)), "key", PLACE)
    return np.asarray(found[:, 0] if log is None else found[:, 0] * np.exp(log))


def test_the_default_is_the_released_codes():
    np.testing.assert_allclose(mapped(Generalized()), np.maximum(VECTORS, 0) + 1e-3, rtol=RTOL)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_is_what_its_name_says(function):
    want = {
        "relu": lambda x: np.maximum(x, 0),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "exp": np.exp,
        "abs": np.abs,
        "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / 2**0.5)),
        "cos": np.cos,
        "tanh": np.tanh,
        "identity": lambda x: x,
        "elu": lambda x: np.where(x > 0, x + 1, np.exp(x)),
    }[function]
    np.testing.assert_allclose(mapped(Generalized(function, epsilon=0.1)), want(VECTORS) + 0.1, rtol=RTOL)


def test_projected_and_scaled():
    matrix = np.random.default_rng(1).normal(size=(3, 8))
    feature = Generalized(projection=Projection(3), scale="softmax", epsilon=0)
    found = mapped(feature, own={"projection": {"matrix": jnp.asarray(matrix)}})
    np.testing.assert_allclose(found, np.maximum(VECTORS @ matrix.T * 8**-0.25, 0), rtol=RTOL)
    assert not feature.own(None).get("projection", {}) and not Generalized().buffers(None, Dims(1, 1, 1, 8, 8))


def test_exponentials_of_hundreds_stay_finite():
    large = np.full((2, 1, 8), 500, np.float32)
    found, log = Generalized("exp").map({}, side(jnp.asarray(large[:, 0])), "key", PLACE)
    np.testing.assert_allclose(found, RAISED)
    np.testing.assert_allclose(log, 500 - math.log(RAISED))


def test_refusals():
    with pytest.raises(ValueError, match="function must be one of relu, .*, got 'softplus'"):
        Generalized("softplus")
    with pytest.raises(ValueError, match="scale must be 'none' or 'softmax', got 'half'"):
        Generalized(scale="half")
    for epsilon in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"epsilon must be at least 0 and finite, got {epsilon}"):
            Generalized(epsilon=epsilon)
