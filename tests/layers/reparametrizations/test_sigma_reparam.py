"""The spectral norm is the gain, the gradient the published closed form, and the estimate never above the norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.reparametrizations.sigma_reparam import (
    SigmaReparam,
    leading,
    power_iteration,
    sigma_reparam,
    spectral_norm,
)
from tests.support import float64  # noqa: F401

SHAPES = [(1, 7), (7, 1), (5, 5), (64, 48), (9, 130)]


def kernel(shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def norm(matrix):
    return np.linalg.norm(np.asarray(matrix, np.float64), 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_spectral_norm_is_the_gain(shape):
    w, gain = kernel(shape), jnp.float32(-1.7)
    np.testing.assert_allclose(norm(sigma_reparam(w, gain, leading(w))), 1.7, rtol=1e-5)
    rough = jnp.asarray(np.random.default_rng(1).normal(size=shape[1]), jnp.float32)
    found = power_iteration(w, rough / jnp.linalg.norm(rough), 50)
    np.testing.assert_allclose(norm(sigma_reparam(w, gain, found)), 1.7, rtol=1e-4)


def test_the_estimate_grows_to_the_norm_and_never_above():
    w = kernel((64, 48))
    estimates, vector = [], jnp.full(48, 48**-0.5)
    for _ in range(25):
        estimates.append(float(spectral_norm(w, vector)) / norm(w))
        vector = power_iteration(w, vector)
        np.testing.assert_allclose(jnp.linalg.norm(vector), 1, rtol=1e-6)
    assert max(estimates) <= 1 + 1e-6 and estimates[-1] > 0.9999
    assert all(later >= earlier - 1e-6 for earlier, later in zip(estimates, estimates[1:], strict=False))


def test_a_multiple_of_the_kernel_gives_the_same():
    w = kernel((6, 9))
    for factor in (0.003, 50.0):
        found = sigma_reparam(factor * w, jnp.float32(2), leading(w))
        np.testing.assert_allclose(found, sigma_reparam(w, jnp.float32(2), leading(w)), rtol=1e-5, atol=1e-6)


def test_gradients_are_the_closed_form_and_the_difference_quotient(float64):  # noqa: F811
    w, above, gain = kernel((7, 5), dtype=np.float64), kernel((7, 5), 1, np.float64), jnp.float64(1.3)
    vector = leading(w)

    def loss(w, gain):
        return (above * sigma_reparam(w, gain, vector)).sum()

    by_kernel, by_gain = jax.grad(loss, (0, 1))(w, gain)
    left, sizes, right = np.linalg.svd(w)
    inner = float((above * w).sum())
    want = gain / sizes[0] * (above - inner / sizes[0] * np.outer(left[:, 0], right[0]))
    np.testing.assert_allclose(by_kernel, want, atol=1e-12)
    np.testing.assert_allclose(by_gain, inner / sizes[0], rtol=1e-12)
    assert abs(float((by_kernel * w).sum())) < 1e-12
    for at in np.ndindex(2, 2):
        # the norm itself is differentiated, of which the vector shows the first order
        ends = [(above * gain * m / norm(m)).sum() for m in (w.at[at].add(1e-6), w.at[at].add(-1e-6))]
        np.testing.assert_allclose(by_kernel[at], (ends[0] - ends[1]) / 2e-6, rtol=1e-7)


def test_bfloat16_kernels_are_scaled_in_float32():
    w = kernel((40, 30)).astype(jnp.bfloat16)
    found = sigma_reparam(w, jnp.float32(1), leading(w.astype(jnp.float32)))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(norm(found), 1, rtol=1e-3)


def test_a_kernel_of_zeros_is_refused_and_harmless_where_it_is_traced():
    zeros = jnp.zeros((3, 4))
    with pytest.raises(ValueError, match=r"A kernel must have a direction to be scaled, got zeros of shape \(3, 4\)"):
        sigma_reparam(zeros, jnp.ones(()), leading(zeros))
    traced = jax.jit(lambda w: sigma_reparam(w, jnp.ones(()), jnp.full(4, 0.5)))
    assert not traced(zeros).any()
    slope = jax.jit(jax.grad(lambda w: traced(w).sum()))(zeros)
    assert jnp.isfinite(slope).all()


def test_a_gain_and_a_vector_that_do_not_fit_are_refused():
    w = kernel((3, 4))
    for gain, vector in ((jnp.ones(()), jnp.ones(3)), (jnp.ones(4), jnp.ones(4)), (jnp.ones(()), jnp.ones((4, 4)))):
        with pytest.raises(ValueError, match="goes with one gain and a vector of its outputs, got shapes"):
            sigma_reparam(w, gain, vector)


@pytest.mark.parametrize("begin", ["svd", "iterated"])
def test_the_gain_starts_at_one_or_at_the_norm(begin):
    w = kernel((64, 48))
    for gain, want in (("one", 1.0), ("norm", norm(w))):
        part = SigmaReparam(gain=gain, begin=begin)
        params, buffers = part.start(w)
        # 15 steps find the norm to a few in ten thousand
        rough = 1e-5 if begin == "svd" else 1e-3
        np.testing.assert_allclose(params["gain"], want, rtol=rough)
        made = part.kernel(params | buffers, w)
        np.testing.assert_allclose(made, want * w / norm(w), rtol=2 * rough, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gain": "two"}, "SigmaReparam.gain must be one of one, norm, got 'two'"),
        ({"joint": "kv"}, "SigmaReparam.joint must be one of none, qk, qkv, got 'kv'"),
        ({"begin": "zeros"}, "SigmaReparam.begin must be one of svd, iterated, got 'zeros'"),
        ({"steps": 0}, "SigmaReparam.steps must be at least 1, got 0"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SigmaReparam(**options)
