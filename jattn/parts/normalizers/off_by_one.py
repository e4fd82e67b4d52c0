"""One more in the denominator of the softmax, so that a row whose logits are all low attends to nothing.

Source: Miller, "Attention Is Off By One", 2023, evanmiller.org/attention-is-off-by-one.html (softmax1); studied as
softmax-1 in Kaul, Ma, Elezi, Deng, "From Attention to Activation: Unraveling the Enigmas of Large Language Models",
ICLR 2025, arXiv:2410.17174.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer, _OneMore
from jattn.parts.normalizers.softmax import Softmax


@part
class OffByOne(_OneMore):
    """Adds the one to any exponential normalizer: a key of logit 0 and value 0. `Sink` learns that logit."""

    inner: Normalizer = Softmax()

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], None]:
        vector = tile.query.vector
        return jnp.zeros(vector.shape[:2], wide(vector.dtype)), None
