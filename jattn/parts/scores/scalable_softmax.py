"""Multiplies each row's logits by the log of the keys it sees, at a learned strength, so that no length flattens it.

Source: Nakanishi, "Scalable-Softmax Is Superior for Attention", 2025, arXiv:2501.19399, the form without a bias.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.scores import Score


def strength(context: int) -> float:
    """The strength at which the factor s log n is 1 on average, over rows of 1 to `context` keys."""
    return context / math.lgamma(context + 1)


@part
class ScalableSoftmax(Score):
    """One strength a head; it starts where rows up to `context` tokens are as sharp as without, on average."""

    context: int = 1024
    visible = True
    positional = False

    def __post_init__(self):
        if self.context < 2:
            raise ValueError(
                f"ScalableSoftmax.context must be at least 2 tokens, got {self.context}; give the length of training, "
                f"1024 in the paper."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"strength": jnp.full(dims.heads, strength(self.context), float)}

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        # a row that sees no key has no logit to scale; the count of 1 keeps its log a number
        sharpness = jnp.log(jnp.maximum(tile.visible, 1).astype(logits.dtype))
        return logits * (of_heads(own, "strength", tile.place).astype(logits.dtype)[:, None] * sharpness)[..., None]
