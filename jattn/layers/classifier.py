"""Features of a whole example to logits of its class, through a layer with an activation.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 4.1, by its
code (`LRAModel`: one layer with a bias, dropout and GELU, a projection without; both fresh by Glorot and Bengio,
"Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, equation 16).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.dropout import drop
from jattn.layers.product import plus, product
from jattn.part import Rng


class Classifier(nnx.Module):
    """Logits in float32; `hidden` is the width between the two products, where dropout acts if there is a key."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: float = 0.0, *, rngs: nnx.Rngs):
        self.dropout = dropout
        fresh = jax.nn.initializers.xavier_uniform()
        self.up = nnx.Param(fresh(rngs.params(), (width, hidden)), axes=("width", None))
        self.bias = nnx.Param(jnp.zeros(hidden), axes=(None,))
        self.table = nnx.Param(fresh(rngs.params(), (hidden, classes)), axes=(None, None))

    def __call__(self, x: Float[Array, "b m"], rng: Array | Rng | None = None) -> Float[Array, "b v"]:
        hidden = plus(product(x, self.up[...]), self.bias[...])
        # each example is a line of one token
        hidden = drop(hidden[:, None], self.dropout, rng, "classifier")[:, 0]
        return product(jax.nn.gelu(hidden, approximate=False), self.table[...], jnp.float32)
