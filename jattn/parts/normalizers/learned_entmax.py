"""Entmax whose `alpha` each head learns, from near softmax to sparsemax.

Source: Correia, Niculae, Martins, "Adaptively Sparse Transformers", EMNLP 2019, arXiv:1909.00015 (alpha for each head
as 1 plus a logistic function, and its gradient through the threshold).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.entmax import entmax, unit

# nearer to 0 float32 cannot tell the weights from softmax's, and in the end divides by 0
LEAST_SPARSITY = 1e-8


def sparsity(logit: Float[Array, " h"]) -> Float[Array, " h"]:
    """alpha - 1."""
    return jnp.maximum(jax.nn.sigmoid(logit), LEAST_SPARSITY)


@part
class LearnedEntmax(Normalizer):
    """alpha = 1 + sigmoid(logit) for each head; the logit starts at 0, where alpha is 1.5."""

    kind = "threshold"

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"logit": jnp.zeros(dims.heads)}

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        each = sparsity(of_heads(own, "logit", tile.place)).astype(logits.dtype)
        return entmax(logits, z, seen, each[:, None, None])

    def begin(self, own: dict, top: Float[Array, "h t"], tile: Tile) -> Float[Array, "h t"]:
        # the largest logit alone has mass 1 here
        return top * unit(sparsity(of_heads(own, "logit", tile.place)).astype(top.dtype))[:, None]

    def degree(self, own: dict, tile: Tile) -> Float[Array, "h 1"]:
        return 1 / sparsity(of_heads(own, "logit", tile.place))[:, None]
