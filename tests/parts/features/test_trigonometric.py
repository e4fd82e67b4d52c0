"""Sines and cosines; that their products are unbiased stands in `test_favor.py`."""

import jax.numpy as jnp
import numpy as np

from jattn.parts.features.trigonometric import Trigonometric
from tests.parts.features.test_favor import PLACE, side


def test_a_vector_with_itself_is_exact():
    rng = np.random.default_rng(0)
    matrix, vector = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    found, log = Trigonometric().map(
        {"projection": {"matrix": jnp.asarray(matrix)}}, side(jnp.asarray(vector)), "key", PLACE
    )
    assert found.shape == (3, 1, 10)
    # sin^2 + cos^2 = 1 for each direction; float32 exponents of about 5
    weight = np.square(found).sum(-1) * np.exp(2 * log)
    np.testing.assert_allclose(weight[:, 0], np.exp(np.square(vector).sum(-1) / np.sqrt(8)), rtol=1e-5)
