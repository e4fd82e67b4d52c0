"""A plain function of a logit and its example, head, query and key; gradients flow to what it closes over.

Source: Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels", 2024,
arXiv:2412.05496, section 3.1 (score modification).
Departs: query and key are positions, which may restart in a segment.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn import closures
from jattn.part import Dims, Tile, part
from jattn.parts.scores import Score


def unchanged(logit, batch, head, query, key):
    """The logit itself."""
    return logit


def over_pairs(function: Callable, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
    """A function of one pair for every pair; what it reads of one axis alone is computed along that axis alone."""
    of_keys = jax.vmap(function, (0, None, None, None, 0))
    of_rows = jax.vmap(of_keys, (0, None, None, 0, None))
    of_heads = jax.vmap(of_rows, (0, None, 0, None, None))
    numbers = (tile.place.example, tile.place.head, tile.query.position, tile.key.position)
    return of_heads(logits, *(jnp.asarray(n).astype(jnp.int32) for n in numbers)).astype(logits.dtype)


@part
class Function(Score):
    """`function(logit, batch, head, query, key)` of one pair, all scalars; `Attention(score=function)` makes one."""

    function: Callable = unchanged

    def __repr__(self) -> str:
        # an address would differ from run to run
        return f"Function({closures.named(self.function)})"

    def closed(self, own: dict, dtype: DTypeLike) -> tuple[Score, dict]:
        made, arrays, out = closures.closed(self.function, {"logit": dtype} | closures.PLACE)
        if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
            raise TypeError(
                f"A score function gives one logit for one pair, got {closures.shown(out)} from "
                f"{closures.named(self.function)}; return a number, as in logit - 0.1 * abs(query - key)."
            )
        return _Closed(made), arrays

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        return over_pairs(self.function, logits, tile)


@part
class _Closed(Score):
    """What `Function` becomes in a call."""

    made: closures.Closed | None = None

    def params(self, rng: Array, dims: Dims) -> dict:
        return {} if self.made is None else self.made.fresh()

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        return over_pairs(lambda *scalars: self.made(own, *scalars), logits, tile)
