"""A learned bias for each head and bucket of distance; buckets widen with distance.

Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020,
arXiv:1910.10683, section 2.1 (32 buckets, all distances beyond 128 share one).
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.numerics import by_offset
from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.scores import Score


def edges(buckets: int, farthest: int) -> np.ndarray:
    """The smallest distance in tokens of each bucket but the first: one token each, then geometric up to `farthest`."""
    exact = buckets // 2
    ratio = math.log(farthest / exact) / (buckets - exact)
    wide = [math.ceil(exact * math.exp(step * ratio) - 1e-9) for step in range(buckets - exact)]
    return np.array([*range(1, exact), *wide])


def bucket(offset: Int[Array, "..."], buckets: int, farthest: int, sides: str) -> Int[Array, "..."]:
    """The bucket of query position minus key position, in tokens; with both sides, later keys get the upper half."""
    if sides == "both":
        half = buckets // 2
        return bucket(jnp.abs(offset), half, farthest, "past") + half * (offset < 0)
    # distances below 0 count as 0: in a causal model nobody sees them
    return jnp.searchsorted(edges(buckets, farthest), jnp.maximum(offset, 0), side="right")


@part
class T5Bias(Score):
    """The decoder's form; `sides="both"` is the encoder's. The table starts at normal noise of deviation 0.02."""

    buckets: int = 32
    farthest: int = 128
    sides: Literal["past", "both"] = "past"

    def __post_init__(self):
        least = 4 if self.sides == "past" else 8
        if self.buckets < least or self.buckets % 4 or self.farthest <= self.buckets // 2:
            raise ValueError(
                f"T5Bias needs buckets divisible by 4, at least {least}, and farthest above half of them, got buckets="
                f"{self.buckets}, farthest={self.farthest}; the paper's are 32 and 128."
            )
        if self.sides not in ("past", "both"):
            raise ValueError(f"T5Bias.sides must be 'past' or 'both', got {self.sides!r}; decoders use 'past'.")

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"table": 0.02 * jax.random.normal(rng, (dims.heads, self.buckets))}

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        table = of_heads(own, "table", tile.place).astype(logits.dtype)

        def find(offset):
            return table[:, bucket(offset, self.buckets, self.farthest, self.sides)]

        return logits + by_offset(find, tile.query.position, tile.key.position)
