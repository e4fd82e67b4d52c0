"""Softmax against jax.nn, and the closed forms of its statistics."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from tests.support import compiled_attend as attend


def test_output_is_that_of_jax_nn():
    q, k, v = (jax.random.normal(jax.random.key(n), (2, 19, 3, 8)) for n in range(3))
    found = attend(q, k, v, Attention(mask=Causal()))
    np.testing.assert_allclose(found.out, jax.nn.dot_product_attention(q, k, v, is_causal=True), atol=2e-6)


def test_equal_logits_have_the_entropy_of_the_uniform():
    zero = jnp.zeros((7, 1, 4))
    stats = attend(zero, zero, zero, Attention(mask=Causal())).stats
    np.testing.assert_allclose(stats.entropy[:, 0], np.log(np.arange(1, 8)), atol=1e-6)
    np.testing.assert_allclose(stats.log_normalizer[:, 0], np.log(np.arange(1, 8)), atol=1e-6)
    np.testing.assert_array_equal(stats.max_logit, 0)


def test_two_keys_have_the_binary_entropy():
    q, k = jnp.ones((1, 1, 1)), jnp.array([[[0.0]], [[1.5]]])
    stats = attend(q, k, k, Attention()).stats
    p = 1 / (1 + np.exp(-1.5))
    np.testing.assert_allclose(stats.entropy[0, 0], -p * np.log(p) - (1 - p) * np.log(1 - p), rtol=1e-6)
