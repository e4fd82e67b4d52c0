"""Each token alone: up to a wider layer twice, where one product gates the other, and down again.

Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, section 2; Qin et al., "Scaling TransNormer
to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its simple gated linear unit has no activation.
Departs: no biases, and the last product starts at 0, so that a fresh block is the identity.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.activations import ACTIVATIONS, Activation, check_activation
from jattn.layers.dropout import drop
from jattn.layers.product import product
from jattn.part import Rng


class GatedFeedForward(nnx.Module):
    """`hidden` is the width between the products; the activation is that of the gate. Dropout as in `FeedForward`."""

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Activation = "squared_relu",
        hidden_dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        check_activation(activation)
        self.activation = activation
        self.hidden_dropout = hidden_dropout
        fresh = jax.nn.initializers.lecun_normal()
        self.gate, self.up = (
            nnx.Param(fresh(rngs.params(), (width, hidden)), axes=("width", "hidden")) for _ in range(2)
        )
        self.down = nnx.Param(jnp.zeros((hidden, width)), axes=("hidden", "width"))

    def __call__(self, x: Float[Array, "*b t m"], rng: Array | Rng | None = None) -> Float[Array, "*b t m"]:
        gate = ACTIVATIONS[self.activation](product(x, self.gate[...]))
        hidden = drop(gate * product(x, self.up[...]), self.hidden_dropout, rng, "hidden")
        return product(hidden, self.down[...])
