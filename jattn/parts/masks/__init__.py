"""The slot `masks`: which keys a query may see. Masks combine with `&`, `|` and `~`."""

import operator
from functools import reduce

import jax.numpy as jnp
from jaxtyping import Array, Bool

from jattn.part import Part, Place, Span, Tile, part


class Mask(Part):
    """Says of each pair in a tile whether the query sees the key, and of whole spans whether any or all pairs do.

    `positional = False` on the class says that no position is read.
    """

    visible = False
    positional = True

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        """True where the query attends to the key."""
        raise NotImplementedError

    def reach(self, query: Span, key: Span, place: Place) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
        """Whether some pair of the spans is seen, and whether all are; it broadcasts over spans and heads.

        May err on one side: `some` true for nothing, `all` false for everything. Written with operators only, since
        spans are NumPy at trace time and traced inside a mesh.
        """
        return True, False

    def __and__(self, other: "Mask") -> "Mask":
        return Both(_flat(Both, self) + _flat(Both, other))

    def __or__(self, other: "Mask") -> "Mask":
        return Either(_flat(Either, self) + _flat(Either, other))

    def __invert__(self) -> "Mask":
        return self.inner if isinstance(self, Other) else Other(self)


def _flat(kind: type, mask: Mask) -> tuple[Mask, ...]:
    if not isinstance(mask, Mask):
        raise TypeError(f"Masks combine with masks, got {type(mask).__name__}; pass an array as attend(layout=...).")
    return mask.members if isinstance(mask, kind) else (mask,)


@part
class Full(Mask):
    """Every query sees every key.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.
    """

    positional = False

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return jnp.ones((1, tile.query.position.shape[0], tile.key.position.shape[0]), bool)

    def reach(self, query: Span, key: Span, place: Place):
        return True, True


@part
class Both(Mask):
    """Sees what every member sees; written `a & b`."""

    members: tuple[Mask, ...] = (Full(),)

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return reduce(operator.and_, _pairs_of_members(self, own, tile))

    def reach(self, query: Span, key: Span, place: Place):
        some, every = zip(*(member.reach(query, key, place) for member in self.members), strict=True)
        return reduce(operator.and_, some), reduce(operator.and_, every)


@part
class Either(Mask):
    """Sees what any member sees; written `a | b`."""

    members: tuple[Mask, ...] = (Full(),)

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return reduce(operator.or_, _pairs_of_members(self, own, tile))

    def reach(self, query: Span, key: Span, place: Place):
        some, every = zip(*(member.reach(query, key, place) for member in self.members), strict=True)
        return reduce(operator.or_, some), reduce(operator.or_, every)


@part
class Other(Mask):
    """Sees what its inner mask does not; written `~a`."""

    inner: Mask = Full()

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return ~self.inner.pairs(own["inner"], tile)

    def reach(self, query: Span, key: Span, place: Place):
        some, every = self.inner.reach(query, key, place)
        return _not(every), _not(some)


def _pairs_of_members(mask: Both | Either, own: dict, tile: Tile) -> list:
    return [member.pairs(own["members"][str(n)], tile) for n, member in enumerate(mask.members)]


def _not(flag):
    # `~True` is -2
    return not flag if isinstance(flag, bool) else ~flag
