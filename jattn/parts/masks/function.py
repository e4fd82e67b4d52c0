"""A plain function of an example, head, query and key; True where the query attends to the key.

Source: Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels", 2024,
arXiv:2412.05496, section 3.2 (mask modification).
Departs: query and key are positions, which may restart in a segment.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool

from jattn import closures
from jattn.part import Dims, Tile, part
from jattn.parts.masks import Mask


def everything(batch, head, query, key):
    """True."""
    return True


def over_pairs(function: Callable, tile: Tile) -> Bool[Array, "h t s"]:
    """A function of one pair for every pair."""
    of_keys = jax.vmap(function, (None, None, None, 0))
    of_rows = jax.vmap(of_keys, (None, None, 0, None))
    of_heads = jax.vmap(of_rows, (None, 0, None, None))
    numbers = (tile.place.example, tile.place.head, tile.query.position, tile.key.position)
    return of_heads(*(jnp.asarray(n).astype(jnp.int32) for n in numbers))


@part
class Function(Mask):
    """`function(batch, head, query, key)` of one pair, all scalars; `Attention(mask=function)` makes one.

    Every tile is visited: what a function would leave out is not known. Join it with a mask that knows, as in
    `Window(512) & Function(f)`.
    """

    function: Callable = everything

    def __repr__(self) -> str:
        # an address would differ from run to run
        return f"Function({closures.named(self.function)})"

    def closed(self, own: dict, dtype: DTypeLike) -> tuple[Mask, dict]:
        made, arrays, out = closures.closed(self.function, closures.PLACE)
        if getattr(out, "shape", None) != () or out.dtype != bool:
            raise TypeError(
                f"A mask function says True or False of one pair, got {closures.shown(out)} from "
                f"{closures.named(self.function)}; return a comparison, as in key <= query."
            )
        return _Closed(made), arrays

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return over_pairs(self.function, tile)


@part
class _Closed(Mask):
    """What `Function` becomes in a call."""

    made: closures.Closed | None = None

    def params(self, rng: Array, dims: Dims) -> dict:
        return {} if self.made is None else self.made.fresh()

    def pairs(self, own: dict, tile: Tile) -> Bool[Array, "#h t s"]:
        return over_pairs(lambda *scalars: self.made(own, *scalars), tile)
