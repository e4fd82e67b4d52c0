"""Sigmoid attention written out, and near softmax where the row is long."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sigmoid import Sigmoid
from tests.support import compiled_attend as attend

ATTENTION = Attention(mask=Causal(), normalizer=Sigmoid())


def drawn(tokens=6):
    return tuple(jax.random.normal(jax.random.key(n), (tokens, 2, 4)) for n in range(3))


def written_out(q, k):
    """Weights and logits of a causal row, "h t s"."""
    logits = np.einsum("thd,shd->hts", *(np.asarray(x, np.float64) for x in (q, k))) / 2
    counts = np.arange(1, len(q) + 1)[:, None]
    return np.tril(np.ones((len(q), len(k)))) / (1 + counts * np.exp(-logits)), logits


def test_output_and_statistics_written_out():
    q, k, v = drawn()
    found = attend(q, k, v, ATTENTION)
    weights, logits = written_out(q, k)
    mass = weights.sum(-1, keepdims=True)
    share = weights / mass
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights, v), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.stats.log_normalizer, np.log(mass[..., 0]).T, rtol=1e-5, atol=1e-6)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(-1)
    np.testing.assert_allclose(found.stats.entropy, entropy.T, atol=1e-5)
    seen = np.where(np.tril(np.ones((6, 6))), logits, -np.inf)
    np.testing.assert_allclose(found.stats.max_logit, seen.max(-1).T, rtol=1e-5)


def test_gradient_is_that_of_the_logistic_function():
    q, k, v = drawn()
    weights, _ = written_out(q, k)
    through = np.einsum("the,she->hts", jnp.cos(v), v) * weights * (1 - weights)
    got = jax.grad(lambda q: (attend(q, k, v, ATTENTION).out * jnp.cos(v)).sum())(q)
    np.testing.assert_allclose(got, np.einsum("hts,shd->thd", through, k) / 2, rtol=1e-4, atol=1e-6)


def test_equal_logits_of_0_weigh_one_in_n_plus_1():
    zero = jnp.zeros((5, 1, 4))
    found = attend(zero, zero, jnp.ones_like(zero), ATTENTION)
    counts = np.arange(1, 6)
    np.testing.assert_allclose(found.out[:, 0, 0], counts / (counts + 1), rtol=1e-6)


def test_a_long_row_weighs_each_key_by_its_exponential_over_n():
    q, k, v = drawn(tokens=499)
    found = attend(q, k, v, Attention(normalizer=Sigmoid()))
    raised = np.exp(np.einsum("thd,shd->hts", *(np.asarray(x, np.float64) for x in (q, k))) / 2) / 499
    # sigmoid(x) is exp(x) less at most exp(2 x)
    bound = np.einsum("hts,shd->thd", raised**2, np.abs(v)) + 1e-5
    assert (np.abs(found.out - np.einsum("hts,shd->thd", raised, v)) <= bound).all()
    assert np.median(bound) < 0.02


def test_another_key_changes_no_weight_but_through_their_number():
    q, k, v = drawn()
    moved = attend(q, k.at[0].add(3), v.at[0].set(0), Attention(normalizer=Sigmoid()))
    np.testing.assert_allclose(moved.out, attend(q, k, v.at[0].set(0), Attention(normalizer=Sigmoid())).out, atol=1e-7)
