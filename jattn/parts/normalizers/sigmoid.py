"""The logistic function of each logit, lowered by the log of the number of keys the row sees; rows need not sum to 1.

Source: Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid Self-Attention", ICLR 2025,
arXiv:2409.04431, section 2 (the bias -log n).
Departs: n counts the keys that the row sees, not the sequence length, so that padding changes nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer


@part
class Sigmoid(Normalizer):
    """Weights of about 1 / n where logits are about 0; each key's is its own, whatever the others are."""

    kind = "free"
    visible = True

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        bias = -jnp.log(jnp.maximum(tile.visible, 1).astype(logits.dtype))
        return jax.nn.sigmoid(jnp.where(seen, logits + bias[..., None], -jnp.inf))
