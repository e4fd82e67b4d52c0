"""Every query sees the first keys, those that come after it too.

Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020,
arXiv:1910.10683, section 3.2.1 (`Causal() | Prefix(n)`, a prefix that sees itself); Xiao et al., "Efficient Streaming
Language Models with Attention Sinks", ICLR 2024, arXiv:2309.17453, section 3.2 (`Causal() & (Window(n) | Prefix(4))`,
sinks beside a window).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, part
from jattn.parts.masks import Mask


@part
class Prefix(Mask):
    """Keys at positions below `tokens`: with positions that restart, the first ones of each segment. 4 are sinks."""

    tokens: int = 4

    def __post_init__(self):
        if self.tokens < 0:
            raise ValueError(
                f"Prefix.tokens must be at least 0, got {self.tokens}; 0 shows no key, and to hide the first n write "
                f"~Prefix(n)."
            )

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        first = tile.key.position < self.tokens
        return jnp.broadcast_to(first[None, None, :], (1, tile.query.position.shape[0], first.shape[0]))

    def reach(self, query: Span, key: Span, place: Place):
        return key.first < self.tokens, key.last < self.tokens
