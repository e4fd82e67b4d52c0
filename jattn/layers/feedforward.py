"""Each token alone: up to a wider layer, through an activation, and down again.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.3; So et al., "Primer",
NeurIPS 2021, arXiv:2109.08668, section 3 (squared ReLU).
Departs: no biases, and the second product starts at 0, so that a fresh block is the identity.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.dropout import drop
from jattn.layers.product import product
from jattn.part import Rng

Activation = Literal["squared_relu", "gelu", "silu", "relu", "identity"]


def squared_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0) squared."""
    return jnp.square(jax.nn.relu(x))


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x, for a layer that is to be linear."""
    return x


ACTIVATIONS = {
    "squared_relu": squared_relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "identity": identity,
}


class FeedForward(nnx.Module):
    """`hidden` is the width between the products; dropout acts there and on what comes out, where there is a key."""

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Activation = "squared_relu",
        hidden_dropout: float = 0.0,
        dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        check_activation(activation)
        self.activation = activation
        self.hidden_dropout, self.dropout = hidden_dropout, dropout
        fresh = jax.nn.initializers.lecun_normal()(rngs.params(), (width, hidden))
        self.up = nnx.Param(fresh, axes=("width", "hidden"))
        self.down = nnx.Param(jnp.zeros((hidden, width)), axes=("hidden", "width"))

    def __call__(self, x: Float[Array, "*b t m"], rng: Array | Rng | None = None) -> Float[Array, "*b t m"]:
        hidden = ACTIVATIONS[self.activation](product(x, self.up[...]))
        hidden = drop(hidden, self.hidden_dropout, rng, "hidden")
        return drop(product(hidden, self.down[...]), self.dropout, rng, "feedforward")


def check_activation(activation: str) -> None:
    """Refuses an unknown name."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"An activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
