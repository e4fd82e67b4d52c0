"""Each token alone: up to a wider layer, through an activation, and down again.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.3.
Departs: no biases, and the second product starts at 0, so that a fresh block is the identity.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.activations import ACTIVATIONS, Activation, check_activation
from jattn.layers.dropout import drop
from jattn.layers.product import product
from jattn.part import Rng


class FeedForward(nnx.Module):
    """`hidden` is the width between the products, where dropout acts if there is a key."""

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
        fresh = jax.nn.initializers.lecun_normal()(rngs.params(), (width, hidden))
        self.up = nnx.Param(fresh, axes=("width", "hidden"))
        self.down = nnx.Param(jnp.zeros((hidden, width)), axes=("hidden", "width"))

    def __call__(self, x: Float[Array, "*b t m"], rng: Array | Rng | None = None) -> Float[Array, "*b t m"]:
        hidden = ACTIVATIONS[self.activation](product(x, self.up[...]))
        hidden = drop(hidden, self.hidden_dropout, rng, "hidden")
        return product(hidden, self.down[...])
