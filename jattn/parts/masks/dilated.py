"""A query sees the keys whose distance is a multiple of a step, and none between.

Source: Child et al., "Generating Long Sequences with Sparse Transformers", 2019, arXiv:1904.10509, section 4.2 (the
strided head: distances that the stride divides); Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer",
2020, arXiv:2004.05150, section 3.1 (`Window(left=n * step, right=n * step) & Dilated(step)`).
"""

import numbers

from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, by_head, part
from jattn.parts.masks import Mask


@part
class Dilated(Mask):
    """`step` in tokens; a tuple gives each head its own. Tiles longer than a step are all alive: none is skipped."""

    step: int | tuple[int, ...] = 2

    def __post_init__(self):
        each = self.step if isinstance(self.step, tuple) else (self.step,)
        if not all(isinstance(size, numbers.Integral) and not isinstance(size, bool) for size in each):
            raise TypeError(
                f"Dilated.step must be a whole number of tokens, or a tuple of one for each head, got {self.step!r}; "
                f"write 2 or (1, 2)."
            )
        if any(size < 1 for size in each):
            raise ValueError(f"Dilated.step must be at least 1 token, got {self.step}; 1 sees every key.")

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        step = self._steps(tile.place)
        if isinstance(self.step, tuple):
            step = step[:, None, None]
        return (tile.query.position[:, None] - tile.key.position[None, :])[None] % step == 0

    def reach(self, query: Span, key: Span, place: Place):
        step = self._steps(place)
        nearest, farthest = query.first - key.last, query.last - key.first
        # the largest multiple up to the farthest distance; two distances in a row are multiples of 1 alone
        return farthest - farthest % step >= nearest, (step == 1) | (nearest == farthest) & (nearest % step == 0)

    def _steps(self, place: Place):
        if not isinstance(self.step, tuple):
            return self.step
        if len(self.step) != place.heads:
            raise ValueError(
                f"Dilated.step must hold one step for each of the {place.heads} query heads, got {len(self.step)}; "
                f"give one number for all heads, or {place.heads} numbers."
            )
        return by_head(self.step, place.head)
