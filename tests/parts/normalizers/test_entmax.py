"""Entmax by sorting, its known values, its Jacobian, and its limits: sparsemax at 2, softmax near 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.entmax import Entmax
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import assert_float32_close, float64, padded_layout, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend


def by_sorting(logits):
    """1.5-entmax exactly: the threshold from running means and sums of squares of the sorted halves."""
    half = np.sort(logits)[::-1] / 2
    counts = np.arange(1, len(half) + 1)
    mean = np.cumsum(half) / counts
    spread = np.cumsum(half**2) - counts * mean**2
    threshold = mean - np.sqrt(np.maximum((1 - spread) / counts, 0))
    support = (threshold <= half).sum()
    return np.maximum(logits / 2 - threshold[support - 1], 0) ** 2


def weights(logits, normalizer):
    """The weights of one row, read off one-hot values."""
    keys = jnp.asarray(logits)[:, None, None]
    value = jnp.eye(len(logits), dtype=keys.dtype)[:, None, :]
    return attend(jnp.ones_like(keys[:1]), keys, value, Attention(normalizer=normalizer, scale=1.0)).out[0, 0]


def test_default_is_that_of_sorting(float64):  # noqa: F811
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(size=23)
        np.testing.assert_allclose(weights(logits, Entmax()), by_sorting(logits), atol=1e-14)


def test_known_values():
    logits = np.array([-2, 0, 0.5], np.float32)
    np.testing.assert_allclose(weights(logits, Entmax()), [0, 0.3260, 0.6740], atol=5e-5)
    np.testing.assert_allclose(weights(logits, Entmax(2)), [0, 0.25, 0.75], atol=1e-7)


@pytest.mark.parametrize("alpha", [1.3, 1.5, 1.9])
def test_jacobian_in_closed_form(alpha, float64):  # noqa: F811
    # diag(s) - s s^T / sum(s) with s = p^(2 - alpha) on the support
    logits = jnp.asarray(np.random.default_rng(0).normal(size=11) * 1.5)
    found, jacobian = weights(logits, Entmax(alpha)), jax.jacrev(weights)(logits, Entmax(alpha))
    slope = np.where(found > 0, found ** (2 - alpha), 0)
    assert 1 < (slope > 0).sum() < 11
    np.testing.assert_allclose(jacobian, np.diag(slope) - np.outer(slope, slope) / slope.sum(), atol=1e-13)


@pytest.mark.parametrize("alpha", [1.25, 4 / 3, 1.5, 2.0])
def test_powers_by_products_are_those_by_logarithms(alpha, float64):  # noqa: F811
    logits = jnp.asarray(np.random.default_rng(2).normal(size=23))
    # so near that the weights are the same to 1e-9, and no small number is the power
    for read in (weights, jax.jacrev(weights)):
        np.testing.assert_allclose(
            read(logits, Entmax(alpha)), read(logits, Entmax(min(2.0, alpha + 1e-9) - 1e-9 * (alpha == 2))), atol=1e-8
        )


def test_alpha_of_2_is_sparsemax(float64):  # noqa: F811
    logits = jnp.asarray(np.random.default_rng(1).normal(size=23))
    for read in (weights, jax.jacrev(weights)):
        np.testing.assert_allclose(read(logits, Entmax(2.0)), read(logits, Sparsemax()), atol=1e-14)


def test_alpha_near_1_is_softmax_up_to_a_multiple_of_the_difference(float64):  # noqa: F811
    # log w = u - (alpha - 1) u^2 / 2 + ..., where u is the logit over the threshold
    logits = np.random.default_rng(2).normal(size=23)
    apart = [weights(logits, Entmax(1 + difference)) - jax.nn.softmax(logits) for difference in (1e-5, 1e-7, 1e-9)]
    for near, far in zip(apart[1:], apart, strict=False):
        np.testing.assert_allclose(100 * near, far, atol=2e-3 * np.abs(far).max())
    assert np.abs(apart[0]).max() < 1e-5


@pytest.mark.parametrize("alpha", [1 + 1e-6, 1.01, 1.2, 1.75, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 30.0])
def test_rows_of_many_keys_sum_to_one(alpha, spread, float64):  # noqa: F811
    keys = jax.random.normal(jax.random.key(0), (4099, 1, 4), float)
    query = spread * jax.random.normal(jax.random.key(1), (3, 1, 4), float)
    found = attend(query, keys, jnp.ones_like(keys), Attention(normalizer=Entmax(alpha)))
    # each of the weights carries the rounding of the threshold
    np.testing.assert_allclose(found.out, 1, rtol=4099 * np.finfo(float).eps * max(1, spread))
    if spread == 0:
        np.testing.assert_allclose(found.stats.entropy, np.log(4099), rtol=1e-11)


def test_a_constant_on_all_logits_changes_nothing(float64):  # noqa: F811
    logits = np.random.default_rng(3).normal(size=9)
    # the threshold is rounded in units of the logits
    np.testing.assert_allclose(weights(logits + 1000, Entmax()), weights(logits, Entmax()), atol=1e-12)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_a_key_at_the_threshold_weighs_nothing_and_moves_nothing(alpha):
    # the first key alone has mass 1, and the second lies just there
    logits = jnp.array([1 / (alpha - 1), 0.0, -5.0])
    np.testing.assert_array_equal(weights(logits, Entmax(alpha)), [1, 0, 0])
    np.testing.assert_array_equal(jax.jacrev(weights)(logits, Entmax(alpha)), np.zeros((3, 3)))


@pytest.mark.parametrize("alpha", [1.0001, 2.0])
def test_float32_at_both_ends_is_as_exact_as_dense_and_finite_at_ten_thousand(alpha, float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    assert_float32_close(Attention(normalizer=Entmax(alpha), mask=Causal()), padded_layout())


@pytest.mark.parametrize("alpha", [1, 0.5, 2.5, float("nan")])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="Entmax.alpha must be above 1 and at most 2, got"):
        Entmax(alpha)
