"""Each token alone: up to a wider layer and down again, with biases and normal noise of deviation 0.02 at the start.

Source: Ma, Zhou, Kong, He, Gui, Neubig, May, Zettlemoyer, "Mega: Moving Average Equipped Gated Attention", ICLR 2023,
arXiv:2209.10655, section 3.5, and its code (`NormalizedFeedForwardNetwork`: deviation, dropout).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.activations import ACTIVATIONS, Activation, check_activation
from jattn.layers.dropout import drop
from jattn.layers.embeddings import DEVIATION
from jattn.layers.product import plus, product
from jattn.part import Rng


class BiasedFeedForward(nnx.Module):
    """`hidden` is the width between the products, with a bias each, 0 at the start; dropout as in `FeedForward`.

    Neither product starts at 0: a fresh block is not quite the identity.
    """

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
        fresh = jax.nn.initializers.normal(DEVIATION)
        self.up = nnx.Param(fresh(rngs.params(), (width, hidden)), axes=("width", "hidden"))
        self.up_bias = nnx.Param(jnp.zeros(hidden), axes=("hidden",))
        self.down = nnx.Param(fresh(rngs.params(), (hidden, width)), axes=("hidden", "width"))
        self.down_bias = nnx.Param(jnp.zeros(width), axes=("width",))

    def __call__(self, x: Float[Array, "*b t m"], rng: Array | Rng | None = None) -> Float[Array, "*b t m"]:
        hidden = ACTIVATIONS[self.activation](plus(product(x, self.up[...]), self.up_bias[...]))
        hidden = drop(hidden, self.hidden_dropout, rng, "hidden")
        return plus(product(hidden, self.down[...]), self.down_bias[...])
