"""Functions of one number that layers choose from by name.

Source: So et al., "Primer: Searching for Efficient Transformers for Language Modeling", NeurIPS 2021, arXiv:2109.08668,
section 3 (squared ReLU).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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


def check_activation(activation: str) -> None:
    """Refuses an unknown name."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"An activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
