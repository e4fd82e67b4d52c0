"""The gradient of alpha: published numbers, its closed form, differences, and float32 near softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.entmax import Entmax
from jattn.parts.normalizers.learned_entmax import LearnedEntmax
from tests.support import compiled_attend as attend
from tests.support import float64  # noqa: F401


def weights(logit, logits):
    """The weights of one row, read off one-hot values."""
    keys = jnp.asarray(logits)[:, None, None]
    value = jnp.eye(len(logits), dtype=keys.dtype)[:, None, :]
    variables = Variables({"normalizer": {"logit": jnp.reshape(logit, (1,))}}, {})
    attention = Attention(normalizer=LearnedEntmax(), scale=1.0)
    return attend(jnp.ones_like(keys[:1]), keys, value, attention, variables=variables).out[0, 0]


def by_alpha(alpha, logits):
    """Derivatives of the weights in alpha itself."""
    logit = jnp.asarray(np.log((alpha - 1) / (2 - alpha)), logits.dtype)
    return jax.jacrev(weights)(logit, logits) / ((alpha - 1) * (2 - alpha))


def closed_form(alpha, found):
    """Derivatives in alpha from float64 weights, as published: cancels near 1."""
    slope = np.where(found > 0, found ** (2 - alpha), 0)
    share = slope / slope.sum()
    heat = -found * np.log(np.where(found > 0, found, 1))
    return (found - share) / (alpha - 1) ** 2 + (heat - share * heat.sum()) / (alpha - 1)


def test_known_derivatives():
    found = by_alpha(1.33, np.array([-1, 0, 0.5], np.float32))
    np.testing.assert_allclose(found, [-0.2562, -0.0114, 0.2676], atol=5e-5)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9])
def test_derivatives_are_the_closed_form_and_the_difference_quotient(alpha, float64):  # noqa: F811
    logits = np.random.default_rng(0).normal(size=11) * 1.5
    logit = np.log((alpha - 1) / (2 - alpha))
    found = by_alpha(alpha, logits)
    # the closed form divides rounding by the square of 0.1 at worst
    np.testing.assert_allclose(found, closed_form(alpha, np.asarray(weights(logit, logits))), atol=1e-12)
    with_alpha = [np.asarray(weights(np.log((a - 1) / (2 - a)), logits)) for a in (alpha + 1e-5, alpha - 1e-5)]
    # a difference over 2e-5 errs by the third derivative times its square
    np.testing.assert_allclose(found, (with_alpha[0] - with_alpha[1]) / 2e-5, atol=1e-7)


def test_each_head_has_its_own_alpha_and_all_start_at_1_5():
    q, k, v = (jax.random.normal(jax.random.key(n), (9, 2, 4)) for n in range(3))
    attention = Attention(mask=Causal(), normalizer=LearnedEntmax())

    def out(logit):
        return attend(q, k, v, attention, variables=Variables({"normalizer": {"logit": logit}}, {})).out

    fresh = attention.init(jax.random.key(0), Dims.of(q, k, v)).params["normalizer"]["logit"]
    sparse, medium = (attend(q, k, v, Attention(mask=Causal(), normalizer=Entmax(a))).out for a in (2.0, 1.5))
    np.testing.assert_allclose(out(fresh), medium, atol=1e-6)
    # a logistic function of 40 is 1 in float32
    apart = out(jnp.array([40.0, 0.0]))
    np.testing.assert_allclose(apart[:, 0], sparse[:, 0], atol=1e-6)
    np.testing.assert_allclose(apart[:, 1], medium[:, 1], atol=1e-6)


@pytest.mark.parametrize("logit", [-1.0, -3.0, -7.0, -15.0])
def test_float32_derivatives_near_softmax_are_exact_to_rounding(logit, float64):  # noqa: F811
    # alpha - 1 down to 3e-7; the closed form, evaluated in float32, errs by 0.04 at 1e-3 already
    slope = jax.jit(jax.jacrev(weights))
    for seed in range(4):
        logits = (np.random.default_rng(seed).normal(size=11) * 2 + 20).astype(np.float32)
        narrow, wide = slope(jnp.float32(logit), logits), slope(jnp.float64(logit), logits.astype(float))
        assert narrow.dtype == jnp.float32
        # two units in the last place of a weight of 1
        np.testing.assert_allclose(narrow, wide, atol=2 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_alpha_at_its_ends_leaves_numbers_finite(logit):
    logits = jnp.array([0.3, -1.0, 2.0, 0.3])
    end = jax.nn.softmax(logits) if logit < 0 else weights(40.0, logits)
    found, slope = weights(logit, logits), jax.jacrev(weights, (0, 1))(logit, logits)
    np.testing.assert_allclose(found, end, atol=1e-6)
    assert all(np.isfinite(x).all() for x in slope)


def test_learned_arrays_may_be_wider_than_what_goes_in(float64):  # noqa: F811
    q, k, v = (jnp.asarray(np.random.default_rng(n).normal(size=(9, 2, 4)), jnp.float32) for n in range(3))
    attention = Attention(normalizer=LearnedEntmax())
    fresh = attention.init(jax.random.key(0), Dims.of(q, k, v))
    assert fresh.params["normalizer"]["logit"].dtype == jnp.float64
    found = attend(q, k, v, attention, variables=fresh)
    assert found.out.dtype == found.stats.entropy.dtype == jnp.float32
    np.testing.assert_allclose(found.out, attend(q, k, v, Attention(normalizer=Entmax(1.5))).out, atol=1e-6)
