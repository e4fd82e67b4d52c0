"""What every pool must hold: weights that sum to 1 make the rows, in any order, and padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Side
from jattn.parts.pools import Pool
from tests.support import float64, parts_of  # noqa: F401

every_pool = pytest.mark.parametrize("pool", parts_of(Pool), ids=lambda cls: cls.__name__)
TOKENS, WIDTH = 11, 6
X = np.random.default_rng(0).normal(size=(TOKENS, WIDTH))


def pooled(pool, x, valid=None, bias=None):
    made = pool()
    own = made.own(made.init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=WIDTH)))
    here = np.arange(len(x))
    side = Side(x, here, here, None, None if valid is None else jnp.asarray(valid), len(x), {})
    return made.apply(own, jnp.asarray(x), side, bias, None)


@every_pool
def test_rows_are_means_by_weights_that_sum_to_one(pool, float64):  # noqa: F811
    found = pooled(pool, X)
    # float64: sums of eleven terms
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-14)
    np.testing.assert_allclose(found.out, found.weights @ X, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.stats.entropy, -(found.weights * np.log(found.weights)).sum(-1), rtol=1e-12)
    assert (found.stats.visible == TOKENS).all() and found.stats.max_logit.shape == found.stats.entropy.shape
    # no weight is larger than that of the largest logit
    top = jnp.exp(found.stats.max_logit - found.stats.log_normalizer)
    np.testing.assert_allclose(found.weights.max(-1), top, rtol=1e-12)


@every_pool
def test_params_that_are_matrices_are_kernels(pool):
    made = pool().init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=WIDTH)).params
    assert set(pool.kernels) == {name for name, param in made.items() if param.ndim == 2}


@every_pool
def test_order_moves_the_weights_alone(pool, float64):  # noqa: F811
    order = np.random.default_rng(1).permutation(TOKENS)
    found, moved = pooled(pool, X), pooled(pool, X[order])
    np.testing.assert_allclose(moved.out, found.out, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(moved.weights, found.weights[:, order], rtol=1e-12)


@every_pool
def test_padding_changes_nothing(pool, float64):  # noqa: F811
    valid = np.arange(TOKENS) % 4 != 1
    padded = pooled(pool, np.where(valid[:, None], X, np.nan), valid)
    alone = pooled(pool, X[valid])
    np.testing.assert_allclose(padded.out, alone.out, rtol=1e-12, atol=1e-14)
    for one, other in zip(padded.stats[:4], alone.stats[:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert not padded.weights[:, ~valid].any()


@every_pool
def test_of_no_token_all_is_0_with_gradients_of_0(pool, float64):  # noqa: F811
    nothing = np.zeros(TOKENS, bool)
    found = pooled(pool, X, nothing)
    assert not found.out.any() and not found.weights.any() and not found.stats.entropy.any()
    assert (found.stats.log_normalizer == -jnp.inf).all() and (found.stats.max_logit == -jnp.inf).all()

    def loss(x):
        found = pooled(pool, x, nothing)
        return found.out.sum() + found.stats.entropy.sum()

    assert not jax.grad(loss)(jnp.asarray(X)).any()


@every_pool
def test_a_bias_multiplies_weights_and_a_constant_one_changes_nothing(pool, float64):  # noqa: F811
    plain, constant = pooled(pool, X), pooled(pool, X, bias=jnp.full(TOKENS, 7.0))
    np.testing.assert_allclose(constant.weights, plain.weights, rtol=1e-12)
    np.testing.assert_allclose(constant.stats.entropy, plain.stats.entropy, rtol=1e-12)
    np.testing.assert_allclose(constant.stats.log_normalizer, plain.stats.log_normalizer + 7, rtol=1e-12)
    doubled = pooled(pool, X, bias=jnp.where(jnp.arange(TOKENS) == 3, np.log(2), 0.0)).weights
    want = np.asarray(plain.weights) * np.where(np.arange(TOKENS) == 3, 2, 1)
    np.testing.assert_allclose(doubled, want / want.sum(-1, keepdims=True), rtol=1e-12)


@every_pool
def test_statistics_have_their_gradients(pool, float64):  # noqa: F811
    found = pooled(pool, X)
    weights, entropy = np.asarray(found.weights), np.asarray(found.stats.entropy)
    # what a row adds to its logits is what it would add to all rows'
    slope = jax.jacrev(lambda bias: pooled(pool, X, bias=bias).stats._replace(visible=None))(jnp.zeros(TOKENS))
    np.testing.assert_allclose(slope.log_normalizer, weights, rtol=1e-12)
    np.testing.assert_allclose(slope.entropy, -weights * (np.log(weights) + entropy[:, None]), rtol=1e-10, atol=1e-15)
    largest = weights >= weights.max(-1, keepdims=True) * (1 - 1e-12)
    np.testing.assert_allclose(slope.max_logit, largest / largest.sum(-1, keepdims=True), rtol=1e-12)


@every_pool
def test_logits_of_ten_thousand_are_finite_and_bfloat16_stays(pool):
    x = jnp.asarray(X, jnp.bfloat16)
    found = pooled(pool, x, bias=jnp.linspace(-1e4, 1e4, TOKENS))
    assert found.out.dtype == jnp.bfloat16 and found.stats.entropy.dtype == jnp.float32
    assert jnp.isfinite(found.out).all() and jnp.isfinite(found.stats.entropy).all()
