"""Forgets each feature by a gate of its own, which the token's input opens and closes.

Source: Yang, Wang, Shen, Panda, Kim, "Gated Linear Attention Transformers with Hardware-Efficient Training", ICML 2024,
arXiv:2312.06635, section 4 (alpha = sigmoid(x W1 W2 + b)^(1/16), W1 of rank 16).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, Place, Side, part
from jattn.parts.decays import Decay


def log_gates(
    x: Float[Array, "n m"],
    down: Float[Array, "m r"],
    up: Float[Array, "r h f"],
    bias: Float[Array, "h f"],
    temperature: float,
) -> Float[Array, "n h f"]:
    """log sigmoid(x W1 W2 + b) / temperature for each token, head and feature, in nats."""
    x = x.astype(wide(x.dtype))
    logit = jnp.einsum("nr,rhf->nhf", x @ down, up) + bias[None]
    return jax.nn.log_sigmoid(logit) / temperature


@part
class Gated(Decay):
    """Gates through `rank` numbers, as many as keys are wide: for features of that width.

    A `temperature` above 1 keeps gates near 1, so that a head forgets slowly at the start.
    """

    logs = ("log_gate",)

    rank: int = 16
    temperature: float = 16.0

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"Gated.rank must be at least 1, got {self.rank}; the paper's is 16.")
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                f"Gated.temperature must be above 0 and finite, got {self.temperature}; the paper's is 16."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        down, up = jax.random.split(rng)
        width = dims.need("model_width", self)
        return {
            "down": jax.random.normal(down, (width, self.rank)) * width**-0.5,
            "up": jax.random.normal(up, (self.rank, dims.heads, dims.key_width)) * self.rank**-0.5,
            "bias": jnp.zeros((dims.heads, dims.key_width)),
        }

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        return {"log_gate": log_gates(x, own["down"], own["up"], own["bias"], self.temperature)}

    def log(self, own: dict, key: Side, place: Place) -> Float[Array, "n h f"]:
        if "log_gate" not in key.extra:
            raise ValueError(
                "Gated reads what attention.project(own, x) makes of the layer's input, or logs of gates 'log_gate', "
                "got none; pass Layout(extra=...) of it, or use jattn.nn.MultiHead."
            )
        return key.extra["log_gate"][:, jnp.asarray(place.head)]
