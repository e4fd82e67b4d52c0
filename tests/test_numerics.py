"""Divisions and logs that survive empty rows, and sums that keep their digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.numerics import (
    RAISED,
    between,
    by_offset,
    divide,
    known,
    length,
    log,
    quotient,
    raised_exp,
    running_sum,
    toeplitz,
    wide,
    x_log_x,
)


def test_divide_by_nothing_is_nothing_with_a_finite_gradient():
    x, y = jnp.array([3.0, 0.0, 5.0]), jnp.array([2.0, 0.0, 0.0])
    np.testing.assert_array_equal(divide(x, y), [1.5, 0, 0])
    for gradient in jax.grad(lambda x, y: divide(x, y).sum(), (0, 1))(x, y):
        assert np.isfinite(gradient).all()


def test_a_quotient_of_tiny_numbers_has_the_gradient_of_the_ratio():
    x, y = jnp.array([3e-25, -2e-25, 0.0, 1e-37]), jnp.array([1e-25, 4e-25, 0.0, -1e-37])
    np.testing.assert_allclose(quotient(x, y), [3, -0.5, 0, -1], rtol=1e-6)
    by_x, by_y = jax.grad(lambda x, y: quotient(x, y).sum(), (0, 1))(x, y)
    np.testing.assert_allclose(by_x[:3], [1e25, 2.5e24, 0], rtol=1e-6)
    np.testing.assert_allclose(by_y[:3], [-3e25, 1.25e24, 0], rtol=1e-6)
    # too near the smallest number, of the right sign and with room left to be summed
    assert -1e28 < by_x[3] < -1e26


def test_an_exponential_of_zero_has_no_gradient_however_large_what_comes_back():
    logs = jnp.array([-2.0, -1000.0])
    found, pull = jax.vjp(raised_exp, logs)
    np.testing.assert_allclose(found, [RAISED * np.exp(-2), 0], rtol=1e-6)
    (slope,) = pull(jnp.array([1.0, 3e38]))
    np.testing.assert_allclose(slope, found, rtol=1e-6)


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


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1), (4, 4), (3, 7), (7, 3)])
def test_toeplitz_holds_the_line_from_lower_left_to_upper_right(rows, columns):
    line = np.random.default_rng(0).normal(size=(2, rows + columns - 1)).astype(np.float32)
    found = toeplitz(jnp.asarray(line), rows)
    assert found.shape == (2, rows, columns)
    for i, j in np.ndindex(rows, columns):
        np.testing.assert_array_equal(found[:, i, j], line[:, rows - 1 - i + j])
    # each number's gradient is the length of its diagonal
    gradient = jax.grad(lambda line: toeplitz(line, rows).sum())(jnp.asarray(line))
    lengths = [np.eye(rows, columns, number - rows + 1).sum() for number in range(rows + columns - 1)]
    np.testing.assert_array_equal(gradient, [lengths] * 2)


def squares(scale):
    return lambda offset: scale.reshape(-1, *(1,) * offset.ndim) * offset[None].astype(float) ** 2


RUNNING, RESTARTING, GAPS = (
    np.arange(9) + 4,
    np.array([5, 6, 7, 0, 1, 2, 3, 4, 5]),
    np.array([0, 1, 2, 3, 5, 6, 7, 8, 9]),
)


@pytest.mark.parametrize("query", [RUNNING, RESTARTING, GAPS, RUNNING[:1], RUNNING[:0]], ids=str)
@pytest.mark.parametrize("key", [RUNNING, RESTARTING, GAPS, RUNNING[:1], RUNNING[:0]], ids=str)
def test_offsets_are_those_of_every_pair(query, key):
    scale = jnp.asarray([0.5, 2.0])
    weigh = jnp.asarray(np.random.default_rng(0).normal(size=(2, len(query), len(key))))
    read = jax.jit(lambda scale, *sides: (by_offset(squares(scale), *sides) * weigh).sum())
    want = squares(scale)(query[:, None] - key[None, :])
    np.testing.assert_array_equal(by_offset(squares(scale), jnp.asarray(query), jnp.asarray(key)), want)
    gradient = jax.grad(read)(scale, jnp.asarray(query), jnp.asarray(key))
    # up to 81 products, summed along diagonals first
    np.testing.assert_allclose(gradient, (weigh * want).sum((1, 2)) / scale, rtol=1e-5, atol=1e-4)


def test_offsets_of_a_batch_whose_positions_run_and_restart():
    queries, keys = jnp.asarray([RUNNING, RESTARTING, GAPS]), jnp.asarray([RUNNING, RUNNING, RESTARTING])
    scale = jnp.asarray([0.5, 2.0])
    found = jax.jit(jax.vmap(lambda query, key: by_offset(squares(scale), query, key)))(queries, keys)
    np.testing.assert_array_equal(found, jnp.moveaxis(squares(scale)(queries[:, :, None] - keys[:, None, :]), 0, 1))


def test_running_positions_are_looked_up_once_an_offset():
    looked_up = []

    def find(offset):
        jax.debug.callback(lambda offset: looked_up.append(offset.shape), offset)
        return jnp.zeros((1, *offset.shape))

    look = jax.jit(lambda query, key: by_offset(find, query, key))
    for query in (RUNNING, RESTARTING):
        jax.block_until_ready(look(jnp.asarray(query), jnp.asarray(RUNNING)))
        jax.effects_barrier()
    assert looked_up == [(17,), (9, 9)]


def test_a_vector_of_zeros_has_no_length_and_a_gradient_of_zeros():
    vectors = jnp.array([[3.0, 0.0], [4.0, 0.0]])
    found, pull = jax.vjp(length, vectors)
    np.testing.assert_array_equal(found, [5, 0])
    np.testing.assert_allclose(pull(jnp.ones(2))[0], [[0.6, 0], [0.8, 0]], rtol=1e-6)


def test_of_no_number_there_is_no_log():
    for function in (log, x_log_x):
        assert np.isnan(function(jnp.float32(np.nan)))


def test_what_lies_between_two_is_the_sum_of_it_alone():
    terms = np.array([-1e30, -1.0, -np.inf, -0.25, -2.0], np.float32)
    want = [[terms[j + 1 : i + 1].sum() for j in range(5)] for i in (0, 1, 4)]
    for shape in ((5,), (5, 1, 1)):
        found = between(jnp.asarray(terms.reshape(shape)), jnp.array([0, 1, 4]))
        np.testing.assert_array_equal(np.reshape(found, (3, 5)), want)


def test_what_is_traced_is_not_known():
    assert known(jnp.arange(3)).tolist() == [0, 1, 2]
    jax.jit(lambda x: np.testing.assert_equal(known(x), None))(jnp.arange(3))
