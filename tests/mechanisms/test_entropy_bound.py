"""The theorem holds for drawn rows, its tight row attains it, and its limits are the published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.entropy import attention_entropy
from jattn.mechanisms.entropy_bound import entropy_lower_bound, tightest_row
from tests.support import float64  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def entropy(logits):
    """Of softmax, by the log-sum-exp form."""
    logits = np.asarray(logits, np.float64)
    top = logits.max(-1, keepdims=True)
    mass = np.exp(logits - top).sum(-1)
    return np.log(mass) - (np.exp(logits - top) * (logits - top)).sum(-1) / mass


@pytest.mark.parametrize("tokens", [1, 2, 3, 8, 64, 512])
@pytest.mark.parametrize("norm", [0.0, 0.01, 1.0, 5.0, 30.0])
def test_the_tight_row_attains_it(tokens, norm):
    row = tightest_row(norm, tokens)
    np.testing.assert_allclose(jnp.linalg.norm(row), norm, rtol=1e-12)
    np.testing.assert_allclose(entropy(row), entropy_lower_bound(norm, tokens), atol=1e-9)


def test_no_row_of_that_norm_is_below():
    rng = np.random.default_rng(0)
    for tokens in (2, 5, 33):
        rows = rng.normal(size=(1000, tokens)) ** rng.choice([1, 3, 5], size=(1000, 1))
        norms = np.linalg.norm(rows, axis=-1)
        assert (entropy(rows) - np.asarray(entropy_lower_bound(norms, tokens))).min() > -1e-12


def test_attention_of_drawn_weights_is_above():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, w_k, w_q = rng.normal(size=(7, 5)), rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
        norm = np.linalg.norm(w_k @ w_q.T, 2) * np.linalg.norm(x @ x.T, 2)
        q, k = (jnp.asarray(x @ w)[:, None, :] for w in (w_q, w_k))
        found = attention_entropy(q, k, Attention(scale=1.0))
        assert found.min() >= entropy_lower_bound(norm, 7) - 1e-12


def test_limits():
    np.testing.assert_allclose(entropy_lower_bound(0.0, 50), np.log(50), rtol=1e-12)
    # as published for 1000 tokens, to the digits printed
    np.testing.assert_allclose(entropy_lower_bound(20.0, 1000), 4.28e-5, rtol=2e-3)
    slope = jax.vmap(jax.grad(lambda norm: entropy_lower_bound(norm, 9)))(jnp.linspace(0.1, 20, 9))
    assert (slope < 0).all()


def test_no_keys_are_refused():
    for function in (entropy_lower_bound, tightest_row):
        with pytest.raises(ValueError, match="A row has at least 1 key, got 0"):
            function(1.0, 0)


def test_a_norm_below_0_is_refused():
    for function in (entropy_lower_bound, tightest_row):
        with pytest.raises(ValueError, match="The norm of a row's logits is at least 0, got -1"):
            function(-1.0, 5)
    assert jnp.isfinite(jax.jit(lambda norm: entropy_lower_bound(norm, 5))(-1.0))
