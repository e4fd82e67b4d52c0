"""Divides the logits of a row by a learned temperature of its head and position, which sets its entropy.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, section 4 (SM(t)).
Departs: t = softplus(raw) + 0.001, since nothing keeps a bare divisor above 0; it starts at 1, where it does nothing,
and not at the published 0.01, which multiplies logits by 100.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jattn.numerics import known
from jattn.part import Dims, Place, Rng, Side, Tile, of_heads, part
from jattn.parts.scores import Score

# keeps a temperature away from 0
LEAST = 1e-3


def temperature(raw: Float[Array, "..."]) -> Float[Array, "..."]:
    """Above 0 for any number."""
    return jax.nn.softplus(raw) + LEAST


def raw_of(start: float) -> float:
    """The number whose temperature is `start`."""
    return math.log(math.expm1(start - LEAST))


def of_rows(table: Float[Array, "h n"], position: Int[Array, " t"]) -> Float[Array, "h t"]:
    """The entries of positions; no number where the table does not hold them, for a traced one cannot be refused."""
    return table.at[:, position].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


@part
class Temperature(Score):
    """One temperature for each head and each of `length` positions, all of which `start` at the same."""

    length: int = 8192
    start: float = 1.0

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"Temperature.length must be at least 1 token, got {self.length}; give the context.")
        if not LEAST < self.start < math.inf:
            raise ValueError(
                f"Temperature.start must be finite and above {LEAST}, got {self.start}; 1 leaves logits as they are."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"raw": jnp.full((dims.heads, self.length), raw_of(self.start), float)}

    def tokens(self, own: dict, query: Side, key: Side, place: Place, rng: Rng | None) -> tuple[Side, Side]:
        if (tokens := query.vector.shape[0]) > self.length:
            raise ValueError(
                f"Temperature holds a table of {self.length} positions, got a text of {tokens} tokens; make it with "
                f"Temperature(length={tokens}) or more, or cut the text."
            )
        position, valid = known(query.position), None if query.valid is None else known(query.valid)
        if position is None or (valid is None) != (query.valid is None):
            return query, key
        # what is no token may have any position
        position = position if valid is None else position[valid]
        if position.size and not 0 <= position.min() <= position.max() < self.length:
            raise ValueError(
                f"Temperature holds a table of {self.length} positions from 0, got positions from {position.min()} to "
                f"{position.max()}; make it with Temperature(length={position.max() + 1}) or more, or count from 0."
            )
        return query, key

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        table = temperature(of_heads(own, "raw", tile.place).astype(logits.dtype))
        return logits / of_rows(table, tile.query.position)[..., None]
