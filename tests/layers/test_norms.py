"""Norms against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.norms import Norm

X = 3 + jax.random.normal(jax.random.key(0), (5, 16))


def test_rms_norm_is_the_paper():
    y = Norm("rms", 16, rngs=nnx.Rngs(0))(X)
    # one rsqrt and one product of float32
    np.testing.assert_allclose(y, X / np.sqrt(np.mean(np.square(X), -1, keepdims=True) + 1e-6), rtol=1e-6)


def test_layer_norm_is_the_paper():
    y = Norm("layer", 16, rngs=nnx.Rngs(0))(X)
    # the mean of 3 is taken off first: a few units in the last place of 3
    np.testing.assert_allclose(y, (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-6), atol=2e-6)


def test_simple_rms_norm_learns_nothing_and_hears_no_scale():
    norm = Norm("simple_rms", 16, rngs=nnx.Rngs(0))
    assert not jax.tree.leaves(nnx.state(norm))
    y = norm(X)
    # of length sqrt(16), but for the epsilon beside a mean square of about 10
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 4, rtol=1e-6)
    np.testing.assert_allclose(norm(1000 * X), y, rtol=1e-6)
    np.testing.assert_allclose(y, 4 * X / np.linalg.norm(X, axis=-1, keepdims=True), rtol=1e-6)
    assert not norm(jnp.zeros((1, 16))).any()


@pytest.mark.parametrize("kind", ["rms", "layer", "simple_rms"])
def test_bfloat16_has_float32_statistics(kind):
    norm, x = Norm(kind, 16, rngs=nnx.Rngs(0)), X.astype(jnp.bfloat16)
    y = norm(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, norm(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_an_unknown_norm_is_refused():
    with pytest.raises((ValueError, TypeError), match="batch"):
        Norm("batch", 16, rngs=nnx.Rngs(0))
