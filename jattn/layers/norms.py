"""The norms in front of each half of a block: statistics in float32, the result in the dtype of the input.

Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467, equation 4; Ba et
al., "Layer Normalization", 2016, arXiv:1607.06450, section 3.
"""

from typing import Literal, get_args

from flax import nnx
from jaxtyping import Array, Float

Kind = Literal["rms", "layer", "none"]


class Norm(nnx.Module):
    """With learned gains; the layer norm has learned shifts too, and "none" gives back what comes in."""

    def __init__(self, kind: Kind, width: int, *, rngs: nnx.Rngs):
        if kind not in get_args(Kind):
            raise ValueError(f"A norm must be 'rms', 'layer' or 'none', got {kind!r}; 'rms' is the default.")
        # fast variance, E x^2 - (E x)^2, cancels where the mean is large
        kinds = {"rms": nnx.RMSNorm, "layer": nnx.LayerNorm}
        self.inner = kinds[kind](width, use_fast_variance=False, rngs=rngs) if kind in kinds else None

    def __call__(self, x: Float[Array, "... m"]) -> Float[Array, "... m"]:
        return x if self.inner is None else self.inner(x).astype(x.dtype)
