"""The point of the simplex nearest to the logits: weights max(s - z, 0) that sum to 1, most of them exactly 0.

Source: Martins, Astudillo, "From Softmax to Sparsemax", ICML 2016, arXiv:1602.02068, equations 2 to 5.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer


@part
class Sparsemax(Normalizer):
    """Sparse, differentiable almost everywhere; z is the paper's threshold tau."""

    kind = "threshold"

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        return jax.nn.relu(jnp.where(seen, logits - z, 0))

    def begin(self, own: dict, top: Float[Array, "h t"], tile: Tile) -> Float[Array, "h t"]:
        # the largest logit alone has mass 1 here
        return top - 1
