"""The norms in front of each half of a block: statistics in float32, the result in the dtype of the input.

Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467, equation 4; Ba et
al., "Layer Normalization", 2016, arXiv:1607.06450, section 3.
"""

from typing import Literal

from flax import nnx
from jaxtyping import Array, Float

Kind = Literal["rms", "layer"]


class Norm(nnx.Module):
    """With learned gains; the layer norm has learned shifts too."""

    def __init__(self, kind: Kind, width: int, *, rngs: nnx.Rngs):
        if kind not in ("rms", "layer"):
            raise ValueError(f"A norm must be 'rms' or 'layer', got {kind!r}; 'rms' is the default.")
        # fast variance, E x^2 - (E x)^2, cancels where the mean is large
        self.inner = {"rms": nnx.RMSNorm, "layer": nnx.LayerNorm}[kind](width, use_fast_variance=False, rngs=rngs)

    def __call__(self, x: Float[Array, "... m"]) -> Float[Array, "... m"]:
        return self.inner(x).astype(x.dtype)
