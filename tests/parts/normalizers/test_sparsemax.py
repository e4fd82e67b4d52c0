"""Sparsemax by sorting, as algorithm 1 of its paper, and its known values."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import compiled_attend as attend


def by_sorting(logits):
    ordered = np.sort(logits)[::-1]
    counts = np.arange(1, len(logits) + 1)
    support = counts[1 + counts * ordered > np.cumsum(ordered)].max()
    return np.maximum(logits - (ordered[:support].sum() - 1) / support, 0)


def weights(logits):
    """The weights of one row, read off one-hot values."""
    keys = jnp.asarray(logits)[:, None, None]
    value = jnp.eye(len(logits), dtype=keys.dtype)[:, None, :]
    query = jnp.ones((1, 1, 1), keys.dtype)
    return attend(query, keys, value, Attention(normalizer=Sparsemax(), scale=1.0)).out[0, 0]


def test_weights_are_those_of_the_sorted_form():
    with jax.enable_x64(True):
        for seed in range(5):
            logits = np.random.default_rng(seed).normal(size=23)
            np.testing.assert_allclose(weights(logits), by_sorting(logits), atol=1e-14)


def test_known_values():
    np.testing.assert_allclose(weights(np.array([0.0, 0.0])), [0.5, 0.5], atol=1e-7)
    np.testing.assert_allclose(weights(np.array([0.5, 0.0])), [0.75, 0.25], atol=1e-7)  # linear in the difference
    np.testing.assert_allclose(weights(np.array([1.5, 0.0])), [1.0, 0.0], atol=1e-7)


def test_gradient_is_the_papers_jacobian():
    # proposition 2: diag(support) - support support' / |support|
    logits = np.array([0.3, 0.1, -2.0, 0.25], np.float32)
    jacobian = jax.jacrev(weights)(jnp.asarray(logits))
    support = (by_sorting(logits) > 0).astype(float)
    np.testing.assert_allclose(jacobian, np.diag(support) - np.outer(support, support) / support.sum(), atol=1e-6)


def test_rows_sum_to_one():
    q, k, v = (jax.random.normal(jax.random.key(n), (33, 2, 8)) for n in range(3))
    found = attend(q, k, jnp.ones_like(v), Attention(mask=Causal(), normalizer=Sparsemax()))
    np.testing.assert_allclose(found.out, 1, rtol=1e-5)
