"""Rotates pairs of coordinates by an angle that grows with the position, so that logits see differences only.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864,
equations 14 and 15.
Departs: pairs coordinate i with i + d/2, as GPT-NeoX and later models do, not 2i with 2i + 1.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.numerics import wide
from jattn.part import Place, Side, part
from jattn.parts.positions import Position


def angles(position: Int[Array, " n"], width: int, base: float, dtype: DTypeLike) -> Float[Array, "n pairs"]:
    """Radians by which each pair of coordinates turns: the position times base^(-2i/d)."""
    rate = base ** (-jnp.arange(0, width, 2, dtype=dtype) / width)
    return position.astype(dtype)[:, None] * rate[None]


def turned(vector: Float[Array, "... d"], angle: Float[Array, "... pairs"]) -> Float[Array, "... d"]:
    """Each pair, coordinate i with i + d/2, turned by its angle in radians."""
    first, second = jnp.split(vector, 2, axis=-1)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate((first * cosine - second * sine, second * cosine + first * sine), axis=-1)


@part
class Rotary(Position):
    """The paper's base; widths must be even."""

    base: float = 10000.0

    def __post_init__(self):
        if self.base <= 0:
            raise ValueError(f"Rotary.base must be above 0, got {self.base}; the paper's is 10000.")

    def turn(self, own: dict, vector: Float[Array, "n h d"], side: Side, place: Place) -> Float[Array, "n h d"]:
        width = vector.shape[-1]
        if width % 2:
            raise ValueError(f"Rotary turns pairs, so the key width must be even, got {width}; use Unturned() or pad.")
        dtype = wide(vector.dtype)
        angle = angles(jnp.asarray(side.position), width, self.base, dtype)[:, None, :]
        return turned(vector.astype(dtype), angle).astype(vector.dtype)
