"""Divides the logits of a row by the number of keys it sees, for weights that are functions of one logit alone.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655 (tau(X) = n for
functions of one logit); the released code, whose causal rows count the keys up to their own.
Departs: counts the keys a row sees under any mask, so that padding, segments and windows count too.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Tile, part
from jattn.parts.scores import Score


@part
class PerVisible(Score):
    """s / visible. A bias stays whole behind it: Mega's is `Attention((PerVisible(), RelativeBias()), scale=1)`."""

    visible = True
    positional = False

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        # a row that sees no key has no logit to divide; the count of 1 keeps it a number
        return logits / jnp.maximum(tile.visible, 1).astype(logits.dtype)[..., None]
