"""Squared positive logits, divided by the number of keys the row sees; rows need not sum to 1.

Source: Hua et al., "Transformer Quality in Linear Time", ICML 2022, arXiv:2202.10447, section 3.1 (squared ReLU), and
Wortsman et al., "Replacing softmax with ReLU in Vision Transformers", 2023, arXiv:2309.08586, section 3 (division by
the number of keys).
Departs: divides by the keys that the row sees, not by the sequence length, so that padding changes nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer


@part
class SquaredRelu(Normalizer):
    """relu(s)^2 / visible."""

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
        positive = jax.nn.relu(jnp.where(seen, logits, 0))
        return positive**2 / jnp.maximum(tile.visible, 1).astype(logits.dtype)[..., None]
