"""Tokens to vectors, and vectors to logits of the next token, with a table each.

Departs: from Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017, arXiv:1608.05859: the
tables are not tied, so that the second can start at 0 and the first loss is the log of the vocabulary; tied ones are
`jattn.layers.tied_embedding`.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import Axes, constrained
from jattn.layers.product import product

# deviation of a fresh table; small beside what the first blocks will add
DEVIATION = 0.02


def looked_up(
    table: Float[Array, "v m"], tokens: Int[Array, "..."], dtype: DTypeLike, axes: Axes | None = None
) -> Float[Array, "... m"]:
    """The row of each token. Raises TypeError for tokens that are no whole numbers."""
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(
            f"An embedding reads whole numbers, got {tokens.dtype} of shape {tokens.shape}; give a source of "
            f"tokens, or a model that reads numbers, as an encoder does by --model.reads numbers."
        )
    # looked up with all their features, for the result is split by tokens
    return constrained(axes, table.astype(dtype), "vocabulary", None)[tokens]


class Embedding(nnx.Module):
    """A learned vector for each token; fresh ones are normal noise of a deviation."""

    def __init__(self, vocabulary: int, width: int, deviation: float = DEVIATION, *, rngs: nnx.Rngs):
        fresh = deviation * jax.random.normal(rngs.params(), (vocabulary, width))
        self.table = nnx.Param(fresh, axes=("vocabulary", "width"))

    def __call__(self, tokens: Int[Array, "..."], dtype: DTypeLike, axes: Axes | None = None) -> Float[Array, "... m"]:
        return looked_up(self.table[...], tokens, dtype, axes)


class Head(nnx.Module):
    """Logits in float32 from a table that starts at 0; `name` is that of the axis of what is chosen from."""

    def __init__(self, width: int, choices: int, name: str | None = "vocabulary"):
        self.table = nnx.Param(jnp.zeros((width, choices)), axes=("width", name))

    def __call__(self, x: Float[Array, "... m"]) -> Float[Array, "... v"]:
        return product(x, self.table[...], jnp.float32)
