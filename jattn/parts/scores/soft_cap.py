"""Bends each logit smoothly, so that it never leaves the range from -cap to cap.

Source: Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size", 2024, arXiv:2408.00118, section 2
(logit soft-capping, 50 in attention).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Tile, part
from jattn.parts.scores import Score


def capped(logits: Float[Array, "h t s"], cap: float) -> Float[Array, "h t s"]:
    """cap tanh(logits / cap): the logit itself near 0, the cap far from it."""
    return cap * jnp.tanh(logits / cap)


@part
class SoftCap(Score):
    """`cap` in logits, after scaling and before any bias."""

    cap: float = 50.0
    positional = False

    def __post_init__(self):
        if not 0 < self.cap < math.inf:
            raise ValueError(
                f"SoftCap.cap must be a finite number above 0, in logits, got {self.cap}; the paper's is 50, and to "
                f"cap nothing leave the score out."
            )

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        return capped(logits, self.cap)
