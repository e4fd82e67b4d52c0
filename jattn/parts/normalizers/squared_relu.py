"""Squared positive logits, divided by the number of keys the row sees or not; rows need not sum to 1.

Source: Hua et al., "Transformer Quality in Linear Time", ICML 2022, arXiv:2202.10447, section 3.1 (squared ReLU), and
Wortsman et al., "Replacing softmax with ReLU in Vision Transformers", 2023, arXiv:2309.08586, section 3 (division by
the number of keys); Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655 (no
division of the square).
Departs: divides by the keys that the row sees, not by the sequence length, so that padding changes nothing.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer

Divisor = Literal["visible", "one"]


@part
class SquaredRelu(Normalizer):
    """relu(s)^2 / visible; with a `divisor` of "one", relu(s)^2."""

    divisor: Divisor = "visible"
    kind = "free"

    def __post_init__(self):
        if self.divisor not in get_args(Divisor):
            raise ValueError(
                f"SquaredRelu.divisor must be 'visible' or 'one', got {self.divisor!r}; 'visible' is the default."
            )

    @property
    def visible(self) -> bool:
        """Keys are counted where they divide."""
        return self.divisor == "visible"

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        square = jax.nn.relu(jnp.where(seen, logits, 0)) ** 2
        if self.divisor == "one":
            return square
        return square / jnp.maximum(tile.visible, 1).astype(logits.dtype)[..., None]
