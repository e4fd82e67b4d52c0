"""Tokens to vectors and vectors to logits by one table.

Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017, arXiv:1608.05859; Vaswani et
al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.4 (vectors times the root of their width).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import Axes
from jattn.layers.embeddings import looked_up
from jattn.layers.product import product


class TiedEmbedding(nnx.Module):
    """A learned vector for each token, normal noise of variance 1 / width at the start.

    What a token becomes is its vector times `scale`, by default the root of the width; its logit is the product with
    the vector itself, in float32.
    """

    def __init__(self, vocabulary: int, width: int, scale: float | None = None, *, rngs: nnx.Rngs):
        self.scale = width**0.5 if scale is None else scale
        fresh = jax.random.normal(rngs.params(), (vocabulary, width)) * width**-0.5
        self.table = nnx.Param(fresh, axes=("vocabulary", "width"))

    def __call__(self, tokens: Int[Array, "..."], dtype: DTypeLike, axes: Axes | None = None) -> Float[Array, "... m"]:
        return looked_up(self.table[...], tokens, dtype, axes) * jnp.asarray(self.scale, dtype)

    def logits(self, x: Float[Array, "... m"]) -> Float[Array, "... v"]:
        """The product with each token's vector, in float32."""
        return product(x, self.table[...].T, jnp.float32)
