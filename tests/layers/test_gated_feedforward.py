"""The gated layer is its formula, and without an activation TransNormer's."""

import jax
import numpy as np
import pytest
from flax import nnx

from jattn.layers.gated_feedforward import GatedFeedForward

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


def layer(activation):
    made = GatedFeedForward(16, 24, activation, rngs=nnx.Rngs(0))
    made.down[...] = jax.random.normal(jax.random.key(1), (24, 16))
    return made


@pytest.mark.parametrize("activation, gate", [("identity", lambda x: x), ("silu", lambda x: x / (1 + np.exp(-x)))])
def test_one_product_gates_the_other(activation, gate):
    made = layer(activation)
    kernels = [np.asarray(each[...], np.float64) for each in (made.gate, made.up, made.down)]
    x = np.asarray(X, np.float64)
    # sums of 16 and 24 products in float32
    np.testing.assert_allclose(made(X), (gate(x @ kernels[0]) * (x @ kernels[1])) @ kernels[2], rtol=1e-4, atol=1e-4)
    assert not np.array_equal(kernels[0], kernels[1])


def test_without_an_activation_it_is_of_degree_two():
    made = layer("identity")
    np.testing.assert_allclose(made(4 * X), 16 * made(X), rtol=1e-5)


def test_a_fresh_layer_adds_nothing():
    assert not GatedFeedForward(16, 24, rngs=nnx.Rngs(0))(X).any()


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="An activation must be one of .*, got 'swish'"):
        GatedFeedForward(16, 24, "swish", rngs=nnx.Rngs(0))
