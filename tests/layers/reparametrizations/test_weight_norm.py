"""Columns have the lengths that are learned; gradients are the paper's."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.layers.reparametrizations.weight_norm import WeightNorm, weight_norm

KERNEL = jax.random.normal(jax.random.key(0), (9, 6))


def test_fresh_lengths_change_nothing():
    params, buffers = WeightNorm().start(KERNEL)
    assert buffers == {}
    np.testing.assert_allclose(WeightNorm().kernel(params, KERNEL), KERNEL, rtol=1e-6)


def test_lengths_and_gradients_are_those_of_equation_3():
    length, above = jnp.arange(1.0, 7), jax.random.normal(jax.random.key(1), KERNEL.shape)
    made, pull = jax.vjp(weight_norm, KERNEL, length)
    np.testing.assert_allclose(jnp.linalg.norm(made, axis=0), length, rtol=1e-6)
    by_kernel, by_length = pull(above)
    norms = np.linalg.norm(KERNEL, axis=0)
    inner = np.asarray((above * KERNEL).sum(0))
    np.testing.assert_allclose(by_length, inner / norms, rtol=1e-5)
    want = np.asarray(length) / norms * (np.asarray(above) - inner / norms**2 * np.asarray(KERNEL))
    np.testing.assert_allclose(by_kernel, want, rtol=1e-4, atol=1e-5)


def test_a_column_of_zeros_stays_with_finite_gradients():
    zeros = KERNEL.at[:, 2].set(0)
    made, pull = jax.vjp(weight_norm, zeros, jnp.ones(6))
    assert not made[:, 2].any() and all(jnp.isfinite(leaf).all() for leaf in pull(made))
