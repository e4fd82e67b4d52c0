"""Real numbers to vectors: each is how far along one learned direction a token lies from one learned point.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 4.1 (pixels and
samples of sound as they are), and its code (`RealNumberEmbedding`).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.product import plus

# deviation of the fresh point; that of the direction is 1
POINT = 0.1


class NumberEmbedding(nnx.Module):
    """x * direction + point. Raises TypeError for whole numbers, which may be tokens."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.direction = nnx.Param(jax.random.normal(rngs.params(), (width,)), axes=("width",))
        self.point = nnx.Param(POINT * jax.random.normal(rngs.params(), (width,)), axes=("width",))

    def __call__(self, x: Float[Array, "..."], dtype: DTypeLike) -> Float[Array, "... m"]:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"A number embedding reads real numbers, got {x.dtype} of shape {x.shape}; give a source of such, or a "
                f"model that reads tokens."
            )
        direction = jnp.broadcast_to(self.direction[...].astype(dtype), (*x.shape, self.direction.shape[0]))
        return plus(x.astype(dtype)[..., None] * direction, self.point[...])
