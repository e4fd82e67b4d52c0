"""Hedgehog: both maps written out, and spikes in the order of softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Place, Side, Variables
from jattn.parts.features.hedgehog import Hedgehog, spikes
from tests.support import compiled_attend as attend

TOKENS = 17


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def explicit(feature, maps, query, key, value):
    """Causal attention with weights written out, pair by pair in float64."""
    out = np.zeros((*query.shape[:2], value.shape[-1]))

    def mapped(vector, matrix):
        u = vector.astype(float) @ np.asarray(matrix, float)
        if feature.function == "softmax":
            return np.concatenate([softmax(u), softmax(-u)], -1)
        return np.exp(np.concatenate([u, -u], -1))

    for t, h in np.ndindex(*query.shape[:2]):
        asked = mapped(query[t, h], maps["query"][h])
        weights = mapped(key[: t + 1, h // 2], maps["key"][h // 2]) @ asked
        out[t, h] = weights @ value[: t + 1, h // 2] / weights.sum()
    return out


@pytest.mark.parametrize("feature", [Hedgehog(), Hedgehog("exponential", 3)], ids=["softmax", "exponential"])
def test_rows_are_those_of_maps_of_their_own(feature):
    attention = LinearAttention(feature)
    fresh = attention.init(jax.random.key(0), Dims(4, 2, 2, 6, 5)).params["feature"]
    maps = {name: x + 0.3 * draw(*x.shape, seed=n) for n, (name, x) in enumerate(fresh.items())}
    query, key, value = draw(TOKENS, 4, 6), draw(TOKENS, 2, 6, seed=1), draw(TOKENS, 2, 5, seed=2)
    found = attend(query, key, value, attention, variables=Variables({"feature": maps}, {}))
    # float32: weighted means of 17 values of order 1
    np.testing.assert_allclose(found.out, explicit(feature, maps, query, key, value), atol=1e-5)


def test_it_starts_as_the_identity_where_widths_agree():
    dims = Dims(4, 2, 2, 6, 5)
    fresh, other = (made.init(jax.random.key(0), dims).params for made in (Hedgehog(), Hedgehog(width=3)))
    for name, heads in (("query", 4), ("key", 2)):
        np.testing.assert_array_equal(fresh[name], np.tile(np.eye(6), (heads, 1, 1)))
        assert other[name].shape == (heads, 6, 3)
        # bound sqrt(6 / 18) of the released rule: of 36 draws some lie in its outer half
        assert 0.29 < np.abs(other[name]).max() <= (6 / 18) ** 0.5


def test_some_heads_take_their_own_maps():
    maps = {"query": draw(4, 6, 6), "key": draw(2, 6, 6, seed=1)}
    side = Side(draw(5, 1, 6, seed=2), None, None, None, None, 5, {})
    place = Place(np.array([2, 3]), 4, 2)
    found, _ = Hedgehog().map(maps, side, "key", place)
    np.testing.assert_allclose(found, spikes(side.vector @ maps["key"][1]), rtol=1e-5)


def test_products_have_the_order_of_logits():
    # Spearman's rank correlation of Gaussian vectors of width 64, an identity for the map: 0.87
    query, key = draw(300, 1, 64), draw(300, 1, 64, seed=1)
    products = np.asarray(spikes(jnp.asarray(query)))[:, 0] @ np.asarray(spikes(jnp.asarray(key)))[:, 0].T
    ranks = [x.ravel().argsort().argsort() for x in (products, query[:, 0] @ key[:, 0].T)]
    assert abs(np.corrcoef(*ranks)[0, 1] - 0.87) < 0.02


def test_long_vectors_leave_no_row_empty():
    # the one spike of each vector meets none of the other's: all products underflow but for the least feature
    assert (np.asarray(spikes(jnp.array([[[300.0, 0, 0]], [[0, 300.0, 0]]]))) >= 1e-12).all()


def test_refusals():
    with pytest.raises(ValueError, match="function must be 'softmax' or 'exponential', got 'relu'"):
        Hedgehog("relu")
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Hedgehog(width=0)
