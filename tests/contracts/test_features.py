"""What every feature must hold: each token by itself, of order 1 beside its factor, finite, in at least float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Place, Side
from jattn.parts.features import Feature
from tests.support import parts_of

every_feature = pytest.mark.parametrize("feature", parts_of(Feature), ids=lambda cls: cls.__name__)
TOKENS, HEADS, WIDTH = 7, 3, 8


def mapper(feature):
    """`map` of both roles as one compiled function of vectors; the factor's log 0 where there is none."""
    made = feature()
    own = made.own(made.init(jax.random.key(0), Dims(HEADS, HEADS, HEADS, WIDTH, WIDTH)))
    place = Place(np.arange(HEADS), HEADS, HEADS)

    def of(vector):
        here = np.arange(len(vector))
        side = Side(vector, here, here, None, None, len(vector), {})
        found = [made.map(own, side, role, place) for role in ("query", "key")]
        return [(x, jnp.zeros(x.shape[:2]) if log is None else log) for x, log in found]

    return jax.jit(of)


@every_feature
def test_each_token_is_mapped_by_itself_to_finite_numbers_of_order_one(feature):
    run = mapper(feature)
    vectors = np.random.default_rng(0).normal(size=(TOKENS, HEADS, WIDTH)).astype(np.float32)
    whole = run(vectors)
    for features, logs in whole:
        assert features.shape[:2] == logs.shape == (TOKENS, HEADS)
        assert features.dtype == logs.dtype == jnp.float32
    moved = run(vectors[::-1])
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(one, other[::-1], rtol=1e-6, atol=1e-6)
    for one in jax.tree.leaves(run(100 * vectors)):
        assert np.isfinite(one).all()


@every_feature
def test_gradients_are_finite_at_zeros(feature):
    run = mapper(feature)
    slope = jax.grad(lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(run(x))))
    assert np.isfinite(slope(jnp.zeros((TOKENS, HEADS, WIDTH)))).all()
