"""The norms in front of each half of a block: statistics in float32, the result in the dtype of the input.

Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467, equation 4; Ba et
al., "Layer Normalization", 2016, arXiv:1607.06450, section 3; Qin et al., "Scaling TransNormer to 175 Billion
Parameters", 2023, arXiv:2307.14995 (SRMSNorm, without gains).
"""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import wide

Kind = Literal["rms", "layer", "simple_rms", "none"]
# under the root, as in those with gains
EPSILON = 1e-6


def simple_rms(x: Float[Array, "... m"]) -> Float[Array, "... m"]:
    """x divided by the root of its mean square: of length sqrt(m), whatever its own."""
    kind = wide(x.dtype)
    square = jnp.square(x.astype(kind)).mean(-1, keepdims=True)
    return (x.astype(kind) * lax.rsqrt(square + EPSILON)).astype(x.dtype)


class Norm(nnx.Module):
    """With learned gains; the layer norm has learned shifts too, "simple_rms" neither, and "none" changes nothing."""

    def __init__(self, kind: Kind, width: int, *, rngs: nnx.Rngs):
        if kind not in get_args(Kind):
            raise ValueError(f"A norm must be one of {', '.join(get_args(Kind))}, got {kind!r}; 'rms' is the default.")
        # fast variance, E x^2 - (E x)^2, cancels where the mean is large
        kinds = {"rms": nnx.RMSNorm, "layer": nnx.LayerNorm}
        self.kind = kind
        self.inner = kinds[kind](width, use_fast_variance=False, rngs=rngs) if kind in kinds else None

    def __call__(self, x: Float[Array, "... m"]) -> Float[Array, "... m"]:
        if self.inner is None:
            return simple_rms(x) if self.kind == "simple_rms" else x
        return self.inner(x).astype(x.dtype)
