"""Divisions and logs that survive empty rows, and sums that keep their digits."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.numerics import divide, log, running_sum, wide, x_log_x


def test_divide_by_nothing_is_nothing_with_a_finite_gradient():
    x, y = jnp.array([3.0, 0.0, 5.0]), jnp.array([2.0, 0.0, 0.0])
    np.testing.assert_array_equal(divide(x, y), [1.5, 0, 0])
    for gradient in jax.grad(lambda x, y: divide(x, y).sum(), (0, 1))(x, y):
        assert np.isfinite(gradient).all()


def test_log_of_nothing_is_minus_infinity_without_a_gradient():
    mass = jnp.array([0.0, np.e])
    np.testing.assert_allclose(log(mass), [-np.inf, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda m: log(m)[1] + jnp.where(m[0] > 0, log(m)[0], 0))(mass), [0, 1 / np.e])


def test_x_log_x_is_zero_at_zero():
    np.testing.assert_allclose(x_log_x(jnp.array([0.0, 1.0, 2.0])), [0, 0, 2 * np.log(2)], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda w: x_log_x(w).sum())(jnp.zeros(2))).all()


def test_wide_is_at_least_float32():
    assert [wide(d) for d in ("bfloat16", "float16", "float32")] == [jnp.float32] * 3
    with jax.enable_x64(True):
        assert wide(jnp.float64) == jnp.float64


def test_running_sum_keeps_differences_that_float32_loses():
    gates = np.random.default_rng(0).normal(size=65536).astype(np.float32) * 0.01 - 0.13
    exact = np.cumsum(gates.astype(np.float64))
    high, low = jax.jit(running_sum)(jnp.asarray(gates))
    near = np.arange(100, 65536)
    want = exact[near] - exact[near - 100]
    naive = np.asarray(high)[near] - np.asarray(high)[near - 100]
    got = naive + (np.asarray(low)[near] - np.asarray(low)[near - 100])
    assert np.abs(naive - want).max() > 1e-3
    # the difference is about 13, the high parts' difference is exact, the low parts are below 1e-3
    assert np.abs(got - want).max() < 4 * np.finfo(np.float32).eps * np.abs(want).max()


def test_gradient_of_running_sum_is_the_reverse_sum():
    weights = jnp.arange(1.0, 6.0)
    grad = jax.grad(lambda x: (sum(running_sum(x)) * weights).sum())(jnp.ones(5))
    np.testing.assert_array_equal(grad, np.cumsum(np.arange(1.0, 6.0)[::-1])[::-1])
