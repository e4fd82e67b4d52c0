"""Signed softmax written out, its closed gradient, its symmetries, and logits of ten thousand of both signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense, tiled
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.signed_softmax import SignedSoftmax
from tests.support import assert_close, attended, make, readings, small_tiles
from tests.support import compiled_attend as attend

ATTENTION = Attention(mask=Causal(), normalizer=SignedSoftmax())


def drawn():
    return tuple(jax.random.normal(jax.random.key(n), (6, 2, 4)) for n in range(3))


def written_out(q, k):
    """Signed weights and their absolute values of a causal row, "h t s"."""
    logits = np.einsum("thd,shd->hts", *(np.asarray(x, np.float64) for x in (q, k))) / 2
    size = np.exp(np.abs(logits)) * np.tril(np.ones(logits.shape[1:]))
    size /= size.sum(-1, keepdims=True)
    return np.sign(logits) * size, size


def row(logits):
    """The weights of one row, read off one-hot values."""
    keys = jnp.asarray(logits)[:, None, None]
    value = jnp.eye(len(logits), dtype=keys.dtype)[:, None, :]
    return attend(jnp.ones_like(keys[:1]), keys, value, Attention(normalizer=SignedSoftmax(), scale=1.0)).out[0, 0]


def test_output_and_statistics_written_out():
    q, k, v = drawn()
    found = attend(q, k, v, ATTENTION)
    weights, size = written_out(q, k)
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights, v), rtol=1e-5, atol=1e-6)
    entropy = -(size * np.log(np.where(size > 0, size, 1))).sum(-1)
    np.testing.assert_allclose(found.stats.entropy, entropy.T, atol=1e-5)
    logits = np.einsum("thd,shd->hts", q, k) / 2
    seen = np.tril(np.ones((6, 6), bool))
    np.testing.assert_allclose(
        found.stats.log_normalizer, np.log((np.exp(np.abs(logits)) * seen).sum(-1)).T, rtol=1e-5, atol=1e-6
    )
    # the largest logit, not the largest magnitude
    np.testing.assert_allclose(found.stats.max_logit, np.where(seen, logits, -np.inf).max(-1).T, rtol=1e-5)


def test_gradient_in_closed_form():
    # ds = |w| (g - sign(s) c) with g = dout v and c = sum of w g
    q, k, v = drawn()
    weights, size = written_out(q, k)
    g = np.einsum("the,she->hts", jnp.cos(v), v)
    through = size * (g - np.sign(weights) * (weights * g).sum(-1, keepdims=True))
    got = jax.grad(lambda q: (attend(q, k, v, ATTENTION).out * jnp.cos(v)).sum())(q)
    np.testing.assert_allclose(got, np.einsum("hts,shd->thd", through, k) / 2, rtol=1e-4, atol=1e-6)


def test_positive_logits_are_softmax():
    q, k, v = drawn()
    q, k = jnp.abs(q), jnp.abs(k)
    np.testing.assert_allclose(attend(q, k, v, ATTENTION).out, attend(q, k, v, Attention(mask=Causal())).out, atol=1e-6)


def test_a_key_turned_around_turns_the_sign_of_its_weight_alone():
    logits = np.array([0.7, -1.5, 2.0, -0.1], np.float32)
    turned = logits * np.array([1, 1, -1, 1], np.float32)
    np.testing.assert_array_equal(row(turned), row(logits) * np.array([1, 1, -1, 1], np.float32))


@pytest.mark.parametrize("engine", [dense, tiled], ids=["dense", "tiled"])
def test_a_query_of_zeros_counts_as_positive_and_learns(engine, monkeypatch):
    small_tiles(monkeypatch)
    with jax.enable_x64(True):
        made, buffers = make(ATTENTION)
        made = made._replace(query=made.query.at[30].set(0), key=jnp.abs(made.key))

        def loss(query):
            found = readings(attended(engine, ATTENTION, made._replace(query=query), buffers))
            return (found["out"][30] ** 2).sum() + found["log_normalizer"][30].sum(), found

        graded = jax.jit(jax.grad(loss, has_aux=True))
        grad, found = graded(made.query)
        np.testing.assert_allclose(found["out"][30], jnp.repeat(made.value[:31].mean(0), 2, 0), atol=1e-12)
        np.testing.assert_allclose(found["entropy"][30], np.log(31), atol=1e-12)
        # the limit from above, off by the step times the second derivative
        above, _ = graded(made.query.at[30].set(1e-9))
        assert_close(above, grad, 1e-7)
        assert np.asarray(grad[30]).any()


def test_logits_of_ten_thousand_of_both_signs_are_finite_and_exact():
    logits = np.array([1e4, -1e4, 9.99e3, -1e4, 5.0], np.float32)
    size = np.exp(np.abs(logits.astype(np.float64)) - 1e4)
    size /= size.sum()
    weights = np.sign(logits) * size
    np.testing.assert_allclose(row(logits), weights, rtol=1e-6)
    # dw_i / ds_j = |w_i| (1 if i is j) - w_i w_j; the log-normalizer is rounded to half a thousandth at ten thousand
    jacobian = jax.jacrev(row)(jnp.asarray(logits))
    np.testing.assert_allclose(jacobian, np.diag(size) - np.outer(weights, weights), atol=5e-4)
