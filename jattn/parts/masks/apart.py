"""Keeps pieces of a context from seeing each other; what comes before them is seen by all, what comes behind sees all.

Source: Ratner et al., "Parallel Context Windows for Large Language Models", ACL 2023, arXiv:2212.10947, section 2.1;
Zhang et al., "Attention Entropy is a Key Factor", ACL 2025, arXiv:2412.16545 (the shared sink before all pieces).
"""

from typing import Any

from jaxtyping import Array, Bool

from jattn.part import Place, Span, Tile, part
from jattn.parts.masks import Mask


def check_sizes(name: str, sink: int, length: int, count: int) -> None:
    """Refuses pieces that cannot be; `name` is the part that has these options."""
    for option, size, least in (("sink", sink, 0), ("length", length, 1), ("count", count, 1)):
        if size < least:
            raise ValueError(
                f"{name}.{option} must be at least {least}, got {size}; give tokens of the sink, tokens of a piece and "
                f"the number of pieces."
            )


def piece(position: Any, sink: int, length: int) -> Any:
    """The number of each position's piece, below 0 in the sink; NumPy or traced."""
    return (position - sink) // length


@part
class Apart(Mask):
    """`sink` tokens, then `count` pieces of `length` tokens each; joins a causal mask: `Causal() & Apart()`.

    A shorter piece is padded, `Layout(valid=...)`.
    """

    sink: int = 1
    length: int = 2048
    count: int = 4

    def __post_init__(self):
        check_sizes("Apart", self.sink, self.length, self.count)

    @property
    def end(self) -> int:
        """The first position behind all pieces."""
        return self.sink + self.count * self.length

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        query, key = tile.query.position[:, None], tile.key.position[None, :]
        same = piece(query, self.sink, self.length) == piece(key, self.sink, self.length)
        return (same | (key < self.sink) | (query >= self.end))[None]

    def reach(self, query: Span, key: Span, place: Place):
        (first, last), (begin, end) = (
            [piece(at, self.sink, self.length) for at in (span.first, span.last)] for span in (query, key)
        )
        some = ((first <= end) & (begin <= last)) | (key.first < self.sink) | (query.last >= self.end)
        one = (first == last) & (begin == end) & (first == begin)
        return some, one | (key.last < self.sink) | (query.first >= self.end)
