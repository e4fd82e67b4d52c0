"""A learned bias for each head and each distance of query and key, up to a length.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, the simple relative
position bias of the released code, b_ij = w[M - 1 + j - i].
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import by_offset
from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.scores import Score


@part
class RelativeBias(Score):
    """`length` in tokens, of the longest input or of the chunks that a mask makes; longer ones are refused.

    The table starts at normal noise of deviation 0.02, that of the earliest query and the latest key last. Where
    positions are known only when it runs, an offset that the table lacks gets its nearest entry.
    """

    length: int = 8192

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"RelativeBias.length must be at least 1 token, got {self.length}; give the context.")

    @property
    def near(self) -> int:
        """The offsets that the table holds are smaller."""
        return self.length

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"table": 0.02 * jax.random.normal(rng, (dims.heads, 2 * self.length - 1))}

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        table = of_heads(own, "table", tile.place).astype(logits.dtype)

        def find(offset):
            # pairs that no row sees may lie farther apart
            return table[:, jnp.clip(self.length - 1 - offset, 0, 2 * self.length - 2)]

        return logits + by_offset(find, tile.query.position, tile.key.position)
