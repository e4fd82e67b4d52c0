"""Rotary positions: rotations that see differences only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary, angles
from tests.support import compiled_attend as attend
from tests.support import float64  # noqa: F401


def test_first_pair_turns_by_one_radian_a_token():
    found = angles(jnp.arange(3), 4, 10000.0, jnp.float32)
    np.testing.assert_allclose(found, [[0, 0], [1, 0.01], [2, 0.02]], rtol=1e-6)


def test_turning_is_a_complex_product():
    with jax.enable_x64(True):
        vector = jax.random.normal(jax.random.key(0), (5, 1, 6), jnp.float64)
        zero = jnp.zeros_like(vector)
        position = jnp.array([0, 3, 7, 100, 2])
        layout = Layout(positions=position)
        arguments, _ = Attention(position=Rotary()).arguments(
            Attention(position=Rotary()).own(None), _split(vector, zero), layout, None, None
        )
        turned = arguments[2].vector
        number = vector[..., :3] + 1j * vector[..., 3:]
        number *= jnp.exp(1j * position[:, None, None] * 10000.0 ** (-jnp.arange(3)[None, None] / 3))
        np.testing.assert_allclose(turned, jnp.concatenate([number.real, number.imag], -1), atol=1e-12)


def _split(query, key):
    from jattn.mechanisms import Split

    return Split(query, key, key)


def test_shifting_both_positions_changes_nothing(float64):  # noqa: F811
    q, k, v = (jax.random.normal(jax.random.key(n), (11, 2, 8), jnp.float64) for n in range(3))
    attention = Attention(mask=Causal(), position=Rotary())
    found = [attend(q, k, v, attention, layout=Layout(positions=jnp.arange(11) + shift)).out for shift in (0, 1000)]
    np.testing.assert_allclose(*found, atol=1e-10)


def test_odd_widths_and_bases_below_zero_are_refused():
    odd = jnp.zeros((2, 1, 3))
    with pytest.raises(ValueError, match="even, got 3"):
        attend(odd, odd, odd, Attention(position=Rotary()))
    with pytest.raises(ValueError, match="above 0, got -1"):
        Rotary(base=-1)
