"""The entropy alone beside that of explicit weights, with its gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.entropy import attention_entropy
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.weights import attention_weights
from jattn.numerics import x_log_x
from jattn.part import Dims
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.null_slot import NullSlot
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import compiled_attend, float64  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def test_equal_logits_have_the_log_of_their_number():
    q = jnp.zeros((5, 2, 4))
    found = attention_entropy(q, q, Attention(mask=Causal()))
    np.testing.assert_allclose(found, np.log(np.arange(1, 6))[:, None] * np.ones(2), atol=1e-12)


@pytest.mark.parametrize("normalizer", [Attention().normalizer, Sparsemax()], ids=repr)
def test_entropy_and_gradient_are_those_of_the_weights(normalizer):
    attention = Attention(score=T5Bias(), mask=Causal(), normalizer=normalizer)
    q, k = (jax.random.normal(jax.random.key(n), (3, tokens, h, 8)) for n, (tokens, h) in enumerate([(7, 4), (9, 2)]))
    variables = attention.init(jax.random.key(3), Dims.of(q, k, k))
    shared = {"variables": variables, "layout": Layout(valid=(None, jnp.array([9, 4, 0])))}

    def direct(q, k):
        return attention_entropy(q, k, attention, **shared)

    def explicit(q, k):
        return -x_log_x(attention_weights(q, k, attention, **shared)).sum(-1).swapaxes(-1, -2)

    found, pull = jax.vjp(jax.jit(direct), q, k)
    want, pull_want = jax.vjp(jax.jit(explicit), q, k)
    assert found.shape == (3, 7, 4) and not found[2].any()
    np.testing.assert_allclose(found, want, atol=1e-12)
    for a, b in zip(pull(found), pull_want(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_null_slot_of_values_counts_where_there_are_none():
    attention = Attention(normalizer=NullSlot())
    q, k, v = (jax.random.normal(jax.random.key(n), (7, 2, 4)) for n in range(3))
    variables = attention.init(jax.random.key(3), Dims.of(q, k, v))
    for implementation in ("tiled", "dense"):
        kind = dataclasses.replace(attention, implementation=implementation)
        want = compiled_attend(q, k, v, kind, variables=variables).stats.entropy
        found = jax.jit(functools.partial(attention_entropy, attention=kind))(q, k, variables=variables)
        np.testing.assert_allclose(found, want, rtol=1e-12)


def test_some_rows_of_linear_attention_have_the_entropy_of_their_weights():
    q, k = (jax.random.normal(jax.random.key(n), (3, 9, heads, 8)) for n, heads in enumerate((4, 2)))
    shared = {"layout": Layout(valid=jnp.array([9, 4, 0])), "rows": [1, 7]}

    def explicit(q, k):
        asked, held = (jax.nn.elu(x) + 1 for x in (q, jnp.repeat(k, 2, 2)))
        valid = np.arange(9) < np.array([[9], [4], [0]])
        seen = np.tril(np.ones((9, 9))) * valid[:, None, None]
        weights = jnp.einsum("bthd,bshd->bhts", asked, held) * seen
        share = weights / jnp.where(weights.sum(-1, keepdims=True) > 0, weights.sum(-1, keepdims=True), 1)
        sizes = -x_log_x(share).sum(-1) * valid[:, None]
        return sizes[..., jnp.array([1, 7])].swapaxes(1, 2)

    found, pull = jax.vjp(jax.jit(lambda q, k: attention_entropy(q, k, LinearAttention(), **shared)), q, k)
    want, pull_want = jax.vjp(jax.jit(explicit), q, k)
    assert found.shape == (3, 2, 4) and found[0].all() and not found[1, 1].any() and not found[2].any()
    np.testing.assert_allclose(found, want, atol=1e-12)
    for a, b in zip(pull(found), pull_want(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_rows_of_a_softmax_are_rows_of_the_same_pass():
    q = jax.random.normal(jax.random.key(0), (9, 2, 4))
    np.testing.assert_array_equal(attention_entropy(q, q, rows=slice(1, 9, 3)), attention_entropy(q, q)[1::3])
