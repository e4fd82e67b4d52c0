"""Unit vectors, whose products are weights to earlier chunks; inside a chunk weights are squares of what is positive.

Source: Hua, Dai, Liu, Le, "Transformer Quality in Linear Time", ICML 2022, arXiv:2202.10447, section 3.2 (mixed chunk
attention); You et al., "When Linear Attention Meets Autoregressive Decoding", ICML 2024, arXiv:2406.07368 (linear
attention in groups), and its released code for unit vectors and groups of 64.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role

# below this square a vector is taken for 0, so that the gradient is finite there
LEAST = 1e-12


def unit(vector: Float[Array, "c h d"]) -> Float[Array, "c h d"]:
    """Vectors of length 1; 0 stays 0."""
    return vector * lax.rsqrt(jnp.maximum(jnp.square(vector).sum(-1, keepdims=True), LEAST))


@part
class MixedChunk(Feature):
    """Chunks of `block` tokens, counted from the first; rows are not divided by the sum of their weights."""

    normalized = False
    block: int = 64

    def __post_init__(self):
        if self.block < 1:
            raise ValueError(f"MixedChunk.block must be at least 1 token, got {self.block}; the released code has 64.")

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        return unit(side.vector), None

    def within(self, own: dict, query: Side, key: Side, place: Place) -> Float[Array, "h c s"]:
        asked, held = unit(query.vector), unit(key.vector)
        held = jnp.repeat(held, asked.shape[1] // held.shape[1], axis=1)
        return jnp.square(jax.nn.relu(jnp.einsum("chd,shd->hcs", asked, held)))
