"""The soft cap against its formula, at both ends and in its slope."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.scores.soft_cap import SoftCap, capped
from tests.support import compiled_attend as attend


def test_the_papers_cap_is_fifty():
    assert SoftCap().cap == 50.0


def test_a_small_logit_stays_and_a_large_one_is_the_cap():
    logits = jnp.asarray([[[0.0, 0.5, -0.5, 1e4, -1e4]]])
    # tanh x = x - x^3/3 + ...: half a logit loses (1/100)^2 / 3 of itself
    np.testing.assert_allclose(capped(logits, 50.0)[0, 0], [0, 0.5, -0.5, 50, -50], rtol=4e-5)


def test_attention_equals_the_equation_written_out():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(7, 1, 4)) for _ in range(3))
    with jax.enable_x64(True):
        found = attend(*map(jnp.asarray, (3 * q, k, v)), Attention(score=SoftCap(cap=2.0)))
    for t in range(7):
        logits = [2.0 * math.tanh(3 * q[t, 0] @ k[s, 0] / math.sqrt(4) / 2.0) for s in range(7)]
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.out[t, 0], weights @ v[:, 0], rtol=1e-12)
        np.testing.assert_allclose(found.stats.max_logit[t, 0], max(logits), rtol=1e-12)


def test_the_slope_falls_from_one_to_nothing():
    slope = jax.vmap(jax.grad(lambda s: capped(s[None, None, None], 50.0)[0, 0, 0]))(
        jnp.asarray([0.0, 50.0, 1e4, -1e4])
    )
    np.testing.assert_allclose(slope, [1, 1 / math.cosh(1) ** 2, 0, 0], rtol=1e-6)


def test_gradients_of_logits_of_ten_thousand_are_finite():
    rng = np.random.default_rng(1)
    q, k, v = (jnp.asarray(rng.normal(size=(9, 2, 4)), jnp.float32) for _ in range(3))

    def loss(q, k):
        found = attend(q, k, v, Attention(score=SoftCap()))
        return found.out.sum() + found.stats.entropy.sum() + found.stats.log_normalizer.sum()

    for gradient in jax.grad(loss, (0, 1))(1e4 * q, k):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("cap", [0.0, -50.0, math.inf, math.nan])
def test_a_cap_out_of_range_is_refused(cap):
    with pytest.raises(ValueError, match="SoftCap.cap must be a finite number above 0"):
        SoftCap(cap=cap)
