"""Each token alone, through one matrix: what a feed-forward layer without an activation amounts to.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, section 4 (ScFuFFN).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.feedforward import FeedForward
from jattn.layers.product import product
from jattn.part import Rng


def fuse_feed_forward(up: Float[Array, "m f"], down: Float[Array, "f m"]) -> Float[Array, "m m"]:
    """The one kernel of two without an activation between them. Raises ValueError for kernels that do not follow."""
    if up.ndim != 2 or down.shape != up.shape[::-1]:
        raise ValueError(
            f"Kernels are fused where one leads up from a width and the other back down to it, got shapes {up.shape} "
            f"and {down.shape}; give (width, hidden) and (hidden, width)."
        )
    return up @ down


class FusedFeedForward(nnx.Module):
    """A square kernel that starts at 0, so that a fresh block is the identity; it has no noise of its own."""

    def __init__(self, width: int):
        self.kernel = nnx.Param(jnp.zeros((width, width)), axes=("width", "hidden"))

    @staticmethod
    def of(layer: FeedForward) -> "FusedFeedForward":
        """The same map as a trained layer's. Raises ValueError for one that has an activation."""
        if layer.activation != "identity":
            raise ValueError(
                f"A feed-forward layer is fused where nothing stands between its kernels, got {layer.activation!r}; "
                f"train it with activation 'identity'."
            )
        up, down = layer.up[...], layer.down[...]
        fused = FusedFeedForward(up.shape[0])
        fused.kernel[...] = fuse_feed_forward(up, down)
        return fused

    def __call__(self, x: Float[Array, "*b t m"], rng: Array | Rng | None = None) -> Float[Array, "*b t m"]:
        return product(x, self.kernel[...])
