"""Weights that keep the sign of their logit: a key may be taken away as well as added.

Source: Lv et al., "More Expressive Attention with Negative Weights", 2024, arXiv:2411.07176 (Cog Attention).
Departs: a logit of exactly 0 counts as positive, where the paper's sign gives its weight 0 and leaves its exponential
in the denominator; so absolute weights always sum to 1, and a query of zeros learns.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer


def magnitude(logits: Float[Array, "h t s"]) -> Float[Array, "h t s"]:
    """The absolute value, rising at 0."""
    return jnp.where(logits < 0, -logits, logits)


@part
class SignedSoftmax(Normalizer):
    """sign(s) exp(|s|) over the sum of exp(|s|); the paper keeps softmax in the first and the last layer."""

    kind = "exponential"

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        size = jnp.exp(self.level(own, logits, seen, tile) - z)
        return jnp.where(logits < 0, -size, size)

    def level(
        self, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
    ) -> Float[Array, "h t s"]:
        return jnp.where(seen, magnitude(logits), -jnp.inf)
