"""A query sees the keys of its own block, of a number of tokens each: squares along the diagonal, one for a block.

Source: Nahshan, Kampeas, Haleva, "Linear Log-Normal Attention with Unbiased Concentration", ICLR 2024,
arXiv:2311.13541, the block-diagonal attention of LLN + Diag.
"""

from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, part
from jattn.parts.masks import Mask


@part
class BlockDiagonal(Mask):
    """Blocks of `size` tokens are counted from position 0; `Causal() & BlockDiagonal()` sees no later key of one."""

    size: int = 64

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(
                f"BlockDiagonal.size must be at least 1 token, got {self.size}; 1 sees the query's own key."
            )

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return (tile.query.position[:, None] // self.size == tile.key.position[None, :] // self.size)[None]

    def reach(self, query: Span, key: Span, place: Place):
        (first, last), (begin, end) = ([at // self.size for at in (span.first, span.last)] for span in (query, key))
        return (first <= end) & (begin <= last), (first == end) & (begin == last)
