"""The feed-forward layer against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.feedforward import FeedForward

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


def test_a_fresh_layer_adds_nothing():
    assert not FeedForward(16, 24, rngs=nnx.Rngs(0))(X).any()


def test_squared_relu_by_hand():
    layer = FeedForward(16, 24, rngs=nnx.Rngs(0))
    layer.down[...] = jax.random.normal(jax.random.key(1), (24, 16))
    up, down = np.asarray(layer.up[...], np.float64), np.asarray(layer.down[...], np.float64)
    # sums of 16 and 24 products in float32
    np.testing.assert_allclose(layer(X), np.maximum(np.asarray(X, np.float64) @ up, 0) ** 2 @ down, atol=2e-5)


@pytest.mark.parametrize("activation", ["squared_relu", "gelu", "silu", "relu", "identity"])
def test_dtype_of_the_input_is_kept(activation):
    layer = FeedForward(16, 24, activation, rngs=nnx.Rngs(0))
    assert layer(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16 and layer.up.dtype == jnp.float32


def test_an_unknown_activation_is_refused():
    with pytest.raises((ValueError, TypeError), match="tanh"):
        FeedForward(16, 24, "tanh", rngs=nnx.Rngs(0))
