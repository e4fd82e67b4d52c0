"""A plain kernel is the kernel."""

import jax.numpy as jnp

from jattn.layers.reparametrizations.plain import Plain


def test_nothing_is_added_and_the_kernel_stays():
    kernel = jnp.ones((2, 3))
    assert Plain().start(kernel) == ({}, {})
    assert Plain().kernel({}, kernel) is kernel and Plain().renewed({}, kernel) == {}
