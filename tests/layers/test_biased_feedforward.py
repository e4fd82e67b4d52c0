"""The feed-forward layer with biases against its formula, its fresh arrays and its dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.biased_feedforward import BiasedFeedForward
from jattn.layers.dropout import drop

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


def layer(**options):
    made = BiasedFeedForward(16, 24, "silu", rngs=nnx.Rngs(0), **options)
    made.up_bias[...], made.down_bias[...] = jnp.linspace(-1, 1, 24), jnp.linspace(-2, 1, 16)
    return made


def test_by_hand():
    made = layer()
    up, b1, down, b2 = (np.asarray(x[...], np.float64) for x in (made.up, made.up_bias, made.down, made.down_bias))
    hidden = np.asarray(X, np.float64) @ up + b1
    # sums of 16 and 24 products in float32
    np.testing.assert_allclose(made(X), hidden / (1 + np.exp(-hidden)) @ down + b2, rtol=1e-5, atol=2e-6)
    assert made(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_fresh_kernels_are_noise_and_biases_are_zero():
    made = BiasedFeedForward(200, 300, rngs=nnx.Rngs(0))
    for kernel in (made.up, made.down):
        # 60,000 draws
        assert abs(float(kernel[...].std()) / 0.02 - 1) < 0.02 and abs(float(kernel[...].mean())) < 0.001
    assert not made.up_bias[...].any() and not made.down_bias[...].any()


def test_dropout_acts_inside():
    key = jax.random.key(3)
    made = layer(hidden_dropout=0.4)
    hidden = jax.nn.silu(X @ made.up[...] + made.up_bias[...][None, None])
    inside = drop(hidden, 0.4, key, "hidden") @ made.down[...] + made.down_bias[...][None, None]
    np.testing.assert_allclose(made(X, key), inside, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(made(X), layer()(X))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="An activation must be one of .*, got 'swish'"):
        BiasedFeedForward(16, 24, "swish", rngs=nnx.Rngs(0))
