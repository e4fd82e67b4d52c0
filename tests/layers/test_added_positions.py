"""Positions that are added: the paper's waves, learned vectors, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.added_positions import AddedPositions, sin_cos

X = jnp.zeros((2, 5, 8))


def test_waves_are_the_papers():
    found = sin_cos(jnp.arange(5)[:, None], 8)
    for t in range(5):
        for i in range(4):
            # section 3.5, with sines in front of cosines; float32
            angle = t / 10_000 ** (2 * i / 8)
            np.testing.assert_allclose(found[t, [i, 4 + i]], [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_each_axis_takes_its_share():
    places = jnp.stack([jnp.array([3, 3, 1]), jnp.array([0, 2, 2])], -1)
    found = sin_cos(places, 8)
    np.testing.assert_array_equal(found[0, :4], found[1, :4])
    np.testing.assert_array_equal(found[1, 4:], found[2, 4:])
    np.testing.assert_array_equal(found[:, :4], sin_cos(places[:, :1], 4))


def test_positions_that_are_given_are_those_added():
    for kind in ("learned", "sin_cos"):
        layer = AddedPositions(kind, 7, 8, rngs=nnx.Rngs(0))
        given = jnp.array([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]])
        found = layer(X, given)
        np.testing.assert_array_equal(found[0], layer(X)[0])
        np.testing.assert_array_equal(found[1], layer(X)[1][given[1]])
    assert AddedPositions("none", 7, 8, rngs=nnx.Rngs(0))(X) is X


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="got 4 for 5; raise the model's length"):
        AddedPositions("learned", 4, 8, rngs=nnx.Rngs(0))(X)
    with pytest.raises(ValueError, match="2 axes need a width that is a multiple of 4, got 6"):
        sin_cos(jnp.zeros((3, 2), int), 6)
    with pytest.raises(ValueError, match="none, learned, sin_cos, got 'fourier'"):
        AddedPositions("fourier", 4, 8, rngs=nnx.Rngs(0))
