"""Any function of the vector, or of its random projections, in place of features of softmax; rectified by default.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, equation 5 and appendix
D.2 (kernels compared); the released code's defaults: no projection, vectors as they come, 1e-3 added, gelu exact.
Departs: exponentials are scaled by the largest *up to each row*, where the released code's may overflow.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jattn.numerics import RAISED, raised_exp
from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role
from jattn.parts.features.projections import Projection

FUNCTIONS = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "exp": jnp.exp,
    "abs": jnp.abs,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "cos": jnp.cos,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
    "elu": lambda x: jax.nn.elu(x) + 1,
}


@part
class Generalized(Feature):
    """Without a projection there are as many features as the width.

    `epsilon` is added to each; `scale` "softmax" divides vectors by the fourth root of their width first. Weights of
    functions with negative values may sum to 0.
    """

    function: Literal["relu", "sigmoid", "exp", "abs", "gelu", "cos", "tanh", "identity", "elu"] = "relu"
    projection: Projection | None = None
    scale: Literal["none", "softmax"] = "none"
    epsilon: float = 1e-3

    def __post_init__(self):
        if self.function not in FUNCTIONS:
            raise ValueError(
                f"Generalized.function must be one of {', '.join(FUNCTIONS)}, got {self.function!r}; the paper takes "
                f"relu."
            )
        if self.scale not in ("none", "softmax"):
            raise ValueError(
                f"Generalized.scale must be 'none' or 'softmax', got {self.scale!r}; leave it out for none."
            )
        if not 0 <= self.epsilon < math.inf:
            raise ValueError(
                f"Generalized.epsilon must be at least 0 and finite, got {self.epsilon}; the paper adds 1e-3."
            )

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        x = side.vector
        if self.scale == "softmax":
            x = x * x.shape[-1] ** -0.25
        if self.projection is not None:
            x = self.projection.onto(own["projection"], x)
        if self.function != "exp":
            return FUNCTIONS[self.function](x) + self.epsilon, None
        level = jax.nn.relu(x.max(-1))
        raised = raised_exp(x - level[..., None]) + self.epsilon * raised_exp(-level)[..., None]
        return raised, level - math.log(RAISED)
