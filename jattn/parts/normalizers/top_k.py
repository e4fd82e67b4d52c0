"""Softmax over the largest logits of each row; the others get exactly no weight.

Source: Gupta et al., "Memory-efficient Transformers via Top-k Attention", 2021, arXiv:2106.06899, section 2.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer, Run

# halvings of a row's range before what is left counts as a tie: more than the bits of a float64
MOST_STEPS = 70
# halvings after that, which keep the mark away from the ranks beside it, where rounding would decide
CENTERING_STEPS = 3


@part
class _Above(Normalizer):
    """1 for each logit from the mark on."""

    kind = "free"

    def weights(self, own, logits, z, seen, tile):
        return (seen & (logits >= tile.query.extra["mark"][..., None])).astype(logits.dtype)


@part
class _Square(Normalizer):
    """The square of each logit."""

    kind = "free"

    def weights(self, own, logits, z, seen, tile):
        return jnp.where(seen, logits, 0) ** 2


def mark(run: Run, keys: int) -> Float[Array, "t h"]:
    """A number about midway between the logits of rank `keys` and `keys` + 1, below all where a row sees no more."""

    def count(at):
        return jnp.round(jnp.exp(lax.stop_gradient(run(_Above(), {}, {"mark": at}).stats.log_normalizer)))

    stats = jax.tree.map(lax.stop_gradient, run(_Square()).stats)
    few = stats.visible <= keys
    # no logit lies further from 0 than the root of all squares; a little more for its rounding
    farthest = 1.01 * jnp.exp(stats.log_normalizer / 2) + 1
    low, high = -farthest, farthest

    def between(low, high):
        # more than `keys` logits lie at or above low, fewer lie at or above high
        return ~few & (high - low > 2 * jnp.finfo(low.dtype).eps * farthest)

    def halve(carry):
        step, low, middle, high, found = carry
        middle = jnp.where(found, middle, (low + high) / 2)
        above = count(middle)
        low = jnp.where(~found & (above > keys), middle, low)
        high = jnp.where(~found & (above < keys), middle, high)
        return step + 1, low, middle, high, found | (above == keys) | ~between(low, high)

    carry = 0, low, low, high, few
    _, low, middle, high, _ = lax.while_loop(lambda c: (c[0] < MOST_STEPS) & ~c[4].all(), halve, carry)

    def center(_, ends):
        low, inside_low, inside_high, high = ends
        below, over = (low + inside_low) / 2, (inside_high + high) / 2
        still, yet = count(below) == keys, count(over) == keys
        return (
            jnp.where(still, low, below), jnp.where(still, below, inside_low),
            jnp.where(yet, over, inside_high), jnp.where(yet, high, over),
        )  # fmt: skip

    exact = count(middle) == keys
    _, first, last, _ = lax.fori_loop(0, CENTERING_STEPS, center, (low, middle, middle, high))
    found = jnp.where(exact, (first + last) / 2, low)
    return jnp.where(few, -jnp.inf, found)


@part
class TopK(Normalizer):
    """The `keys` largest logits of a row; what ties with the last of them stays too. No gradient for the choice."""

    keys: int = 64
    kind = "exponential"
    loops = True

    def __post_init__(self):
        if self.keys < 1:
            raise ValueError(f"TopK.keys must be at least 1, got {self.keys}; 1 takes the largest.")

    def prepare(self, own: dict, run: Run) -> dict:
        return {"mark": lax.stop_gradient(mark(run, self.keys))}

    def level(
        self, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
    ) -> Float[Array, "h t s"]:
        return jnp.where(seen & (logits >= tile.query.extra["mark"][..., None]), logits, -jnp.inf)

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        return jnp.exp(self.level(own, logits, seen, tile) - z)
