"""The spectral norm is 1, with the gradient of that, and the vector follows the kernel."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.layers.reparametrizations.spectral_norm import SpectralNorm

KERNEL = jax.random.normal(jax.random.key(0), (9, 6))


def test_the_norm_is_one_and_its_gradient_has_none_along_the_kernel():
    params, buffers = SpectralNorm().start(KERNEL)
    assert params == {}
    above = jax.random.normal(jax.random.key(1), KERNEL.shape)
    made, pull = jax.vjp(lambda kernel: SpectralNorm().kernel(buffers, kernel), KERNEL)
    np.testing.assert_allclose(np.linalg.norm(made, 2), 1, rtol=1e-5)
    assert abs((pull(above)[0] * KERNEL).sum()) < 1e-5


def test_the_vector_follows():
    vector = SpectralNorm().start(KERNEL).buffers
    moved = KERNEL + 0.5 * jax.random.normal(jax.random.key(2), KERNEL.shape)
    for _ in range(50):
        vector = SpectralNorm().renewed(vector, moved)
    np.testing.assert_allclose(jnp.linalg.norm(SpectralNorm().kernel(vector, moved), 2), 1, rtol=1e-4)
