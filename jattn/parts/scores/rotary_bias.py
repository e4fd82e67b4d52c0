"""A bias for each head by distance alone: a learned vector, turned by the query's position, meets another at the key's.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, the rotary relative
position bias of the released code, b_ij = <R_i a, R_j b>; neither queries nor keys are turned.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jattn.numerics import by_offset
from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.positions.rotary import angles, turned
from jattn.parts.scores import Score


def along(vector: Float[Array, "h z"], position: Int[Array, " n"], base: float) -> Float[Array, "h n z"]:
    """The vector of each head turned by each position."""
    return turned(vector[:, None], angles(position, vector.shape[-1], base, vector.dtype)[None])


@part
class RotaryBias(Score):
    """Any length, also beyond that of training. Both vectors are `size` numbers a head, by default as many as a key's.

    They start at normal noise of deviation 0.02; frequencies are those of `Rotary`.
    """

    size: int | None = None
    base: float = 10000.0

    def __post_init__(self):
        if self.size is not None and (self.size < 2 or self.size % 2):
            raise ValueError(
                f"RotaryBias.size must be even and at least 2, got {self.size}; it turns pairs of numbers."
            )
        if self.base <= 0:
            raise ValueError(f"RotaryBias.base must be above 0, got {self.base}; the paper's is 10000.")

    def params(self, rng: Array, dims: Dims) -> dict:
        size = dims.key_width if self.size is None else self.size
        if size % 2:
            raise ValueError(f"RotaryBias turns pairs, and keys have {size} numbers; give it an even size=.")
        query, key = 0.02 * jax.random.normal(rng, (2, dims.heads, size))
        return {"query": query, "key": key}

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        a, b = (of_heads(own, name, tile.place).astype(logits.dtype) for name in ("query", "key"))
        query, key = jnp.asarray(tile.query.position), jnp.asarray(tile.key.position)

        def find(offset):
            return jnp.einsum("hnz,hz->hn", along(a, offset, self.base), b)

        def find_pairs():
            # an angle for each pair would be an array z times the tile; from the first query on angles are small, and
            # exact numbers of tokens
            first = query[0]
            return jnp.einsum("htz,hsz->hts", along(a, query - first, self.base), along(b, key - first, self.base))

        return logits + by_offset(find, query, key, find_pairs)
