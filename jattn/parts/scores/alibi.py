"""Lowers each logit by the distance of query and key, at a rate of its own for each head.

Source: Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
ICLR 2022, arXiv:2108.12409, section 3; for head counts that are no power of two, the released code.
Departs: later keys, which the paper's causal models never see, count by their distance too.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jattn.part import Tile, by_head, part
from jattn.parts.scores import Score


def slopes(heads: int) -> np.ndarray:
    """Rates per token of all heads: the geometric series from 2^(-8/heads) down to 2^-8.

    Where `heads` is no power of two, the series of the next smaller one, and behind it every other rate of the next
    larger one.
    """
    power = 2 ** (heads.bit_length() - 1)
    whole = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8 * np.arange(1, 2 * power, 2) / (2 * power))
    return np.concatenate([whole, between[: heads - power]])


@part
class Alibi(Score):
    """The paper's slopes; there is nothing to choose."""

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        distance = jnp.abs(tile.query.position[:, None] - tile.key.position[None, :]).astype(logits.dtype)
        rate = jnp.asarray(by_head(slopes(tile.place.heads), tile.place.head), logits.dtype)
        return logits - rate[:, None, None] * distance[None]
