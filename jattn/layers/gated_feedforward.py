"""Each token alone: up to a wider layer twice, where one product gates the other, and down again.

Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, section 2; Qin et al., "Scaling TransNormer
to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its simple gated linear unit has no activation.
Departs: no biases, and the last product starts at 0, so that a fresh block is the identity.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.feedforward import ACTIVATIONS, Activation
from jattn.layers.product import product


class GatedFeedForward(nnx.Module):
    """`hidden` is the width between the products; the activation is that of the gate."""

    def __init__(self, width: int, hidden: int, activation: Activation = "squared_relu", *, rngs: nnx.Rngs):
        if activation not in ACTIVATIONS:
            raise ValueError(f"An activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        self.activation = activation
        fresh = jax.nn.initializers.lecun_normal()
        self.gate, self.up = (
            nnx.Param(fresh(rngs.params(), (width, hidden)), axes=("width", "hidden")) for _ in range(2)
        )
        self.down = nnx.Param(jnp.zeros((hidden, width)), axes=("hidden", "width"))

    def __call__(self, x: Float[Array, "... m"]) -> Float[Array, "... m"]:
        gate = ACTIVATIONS[self.activation](product(x, self.gate[...]))
        return product(gate * product(x, self.up[...]), self.down[...])
