"""A query sees the keys within a number of tokens to its left and right, which may differ by head.

Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020, arXiv:2004.05150, section 3.1.
Departs: counted as in `jax.nn`: `left` earlier and `right` later tokens beside the query's own.
"""

import numbers

from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, by_head, part
from jattn.parts.masks import Mask


@part
class Window(Mask):
    """`left` and `right` in tokens; a tuple gives each head its own."""

    left: int | tuple[int, ...] = 128
    right: int | tuple[int, ...] = 0

    def __post_init__(self):
        for name in ("left", "right"):
            sizes = getattr(self, name)
            each = sizes if isinstance(sizes, tuple) else (sizes,)
            if not all(isinstance(size, numbers.Integral) and not isinstance(size, bool) for size in each):
                raise TypeError(
                    f"Window.{name} must be a whole number of tokens, or a tuple of one for each head, got {sizes!r}; "
                    f"write 64 or (64, 128)."
                )
            if any(size < 0 for size in each):
                raise ValueError(
                    f"Window.{name} must be at least 0 tokens, got {sizes}; 0 sees no token on that side, and a mask "
                    f"without a limit is Causal() or Full()."
                )

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        left, right = self._sizes(tile.place)
        distance = (tile.query.position[:, None] - tile.key.position[None, :])[None]
        if isinstance(self.left, tuple):
            left = left[:, None, None]
        if isinstance(self.right, tuple):
            right = right[:, None, None]
        return (distance <= left) & (distance >= -right)

    def reach(self, query: Span, key: Span, place: Place):
        left, right = self._sizes(place)
        nearest, farthest = query.first - key.last, query.last - key.first
        return (nearest <= left) & (farthest >= -right), (farthest <= left) & (nearest >= -right)

    def _sizes(self, place: Place):
        for name in ("left", "right"):
            sizes = getattr(self, name)
            if isinstance(sizes, tuple) and len(sizes) != place.heads:
                raise ValueError(
                    f"Window.{name} must hold one size for each of the {place.heads} query heads, got {len(sizes)}; "
                    f"give one number for all heads, or {place.heads} numbers."
                )
        return tuple(by_head(s, place.head) if isinstance(s, tuple) else s for s in (self.left, self.right))
