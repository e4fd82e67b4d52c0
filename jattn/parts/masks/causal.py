"""A query sees its own position and what came before.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.3.
"""

from typing import Literal

from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, part
from jattn.parts.masks import Mask


def shift(query_length, key_length, align: str):
    """What is added to a query's position: 0, or the difference that makes the last query meet the last key."""
    return key_length - query_length if align == "last" else 0


@part
class Causal(Mask):
    """Aligned at the first position, as in `jax.nn`; `align="last"` lets the last query see the last key instead."""

    align: Literal["first", "last"] = "first"

    def __post_init__(self):
        if self.align not in ("first", "last"):
            raise ValueError(
                f"Causal.align must be 'first' or 'last', got {self.align!r}; use 'first' unless a prompt is longer "
                f"than the queries that end it."
            )

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "1 t s"]:
        moved = tile.query.position + shift(tile.query.length, tile.key.length, self.align)
        return (moved[:, None] >= tile.key.position[None, :])[None]

    def reach(self, query: Span, key: Span, place: Place):
        move = shift(query.length, key.length, self.align)
        return query.last + move >= key.first, query.first + move >= key.last
