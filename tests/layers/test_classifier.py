"""The classifier against its formula, and its fresh arrays."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattn.layers.classifier import Classifier

X = jax.random.normal(jax.random.key(0), (5, 8))


def test_by_hand():
    layer = Classifier(8, 12, 3, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.linspace(-1, 1, 12)
    hidden = np.asarray(X, np.float64) @ np.asarray(layer.up[...], np.float64) + np.asarray(layer.bias[...])
    # GELU by the normal distribution itself
    hidden *= np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)(hidden)
    # sums of 8 and 12 products in float32
    np.testing.assert_allclose(layer(X), hidden @ np.asarray(layer.table[...], np.float64), atol=5e-6)
    assert layer(X.astype(jnp.bfloat16)).dtype == jnp.float32


def test_fresh_arrays():
    layer = Classifier(300, 100, 20, rngs=nnx.Rngs(0))
    for kernel in (layer.up, layer.table):
        edge = (6 / sum(kernel.shape)) ** 0.5
        # uniform between the edges: deviation edge / sqrt(3), of 2000 draws or more
        assert abs(kernel[...]).max() <= edge and abs(float(kernel[...].std()) * 3**0.5 / edge - 1) < 0.05
    assert not layer.bias[...].any()


def test_dropout_acts_with_a_key():
    layer = Classifier(8, 400, 3, dropout=0.5, rngs=nnx.Rngs(0))
    plain = Classifier(8, 400, 3, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(X), plain(X))
    noisy = layer(X, jax.random.key(1))
    assert noisy.shape == (5, 3) and abs(noisy - plain(X)).min() > 0
