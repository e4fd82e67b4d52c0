"""Sharpens rows that see more keys than the model was trained with, so that their entropy stays.

Source: Zhang, Li, Liu, "Extending LLMs' Context Window with 100 Samples", 2024, arXiv:2401.07004 (the attention scalar
of Entropy-ABF; its other half is a larger base of the rotation).
Departs: counts the keys a row sees, which is its position in the causal model of the paper, so that padding, segments
and windows count too. Scales every layer, as the released code does, unless told to leave the first ones alone.
"""

import math

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.part import Tile, part
from jattn.parts.scores import Score


def factor(visible: Int[Array, "#h t"], context: int, dtype: DTypeLike) -> Float[Array, "#h t"]:
    """max(1, log visible / log context): 1 up to the context of training, then slowly above."""
    # a row that sees no key has no logit to scale; the count of 1 keeps its log a number
    return jnp.maximum(jnp.log(jnp.maximum(visible, 1).astype(dtype)) / math.log(context), 1)


@part
class LengthScale(Score):
    """`context` in tokens, that of training; the first `skip` layers stay as they are, 2 in the paper's text."""

    context: int = 4096
    skip: int = 0
    visible = True
    positional = False

    def __post_init__(self):
        if self.context < 2:
            raise ValueError(
                f"LengthScale.context must be at least 2 tokens, got {self.context}; give the length that the model "
                f"was trained at, 4096 in the paper."
            )
        if self.skip < 0:
            raise ValueError(f"LengthScale.skip must be at least 0 layers, got {self.skip}; the paper skips 2.")

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        scale = factor(tile.visible, self.context, logits.dtype)
        return logits * jnp.where(tile.place.layer < self.skip, 1, scale)[..., None]
