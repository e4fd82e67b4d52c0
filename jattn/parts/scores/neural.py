"""Scores a pair by a small network of query and key, in place of their product.

Source: DiGiugno, Mahmood, "Neural Attention: A Novel Mechanism for Enhanced Expressive Power in Transformer Models",
2025, arXiv:2502.17206, and its released code.
Departs: the first layer acts on query and key apart and adds, which is the same function; so no array holds the two
side by side for every pair.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, Place, Rng, Side, Tile, part
from jattn.parts.scores import Score


def halves(
    own: dict, query: Float[Array, "t h d"], key: Float[Array, "s g d"]
) -> tuple[Float[Array, "t h r"], Float[Array, "s g r"]]:
    """What query and key each bring to the first layer, whose kernel acts on both side by side."""
    low = [x @ own[f"{name}_kernel"] + own[f"{name}_bias"][None, None] for name, x in (("query", query), ("key", key))]
    kernel = jnp.split(own["first_kernel"], 2)
    return low[0] @ kernel[0] + own["first_bias"][None, None], low[1] @ kernel[1]


def score(own: dict, query: Float[Array, "h t r"], key: Float[Array, "h s r"]) -> Float[Array, "h t s"]:
    """The network from its first layer on: two rectified layers and a sum, units in front so that pairs stay dense."""
    query, key = (jnp.moveaxis(half, -1, 0) for half in (query, key))
    first = jax.nn.relu(query[..., :, None] + key[..., None, :])
    second = jnp.einsum("ru,rhts->uhts", own["second_kernel"], first) + own["second_bias"][:, None, None, None]
    return jnp.einsum("u,uhts->hts", own["last_kernel"], jax.nn.relu(second)) + own["last_bias"]


@part
class Neural(Score):
    """`hidden` units, and half as many in the second layer; all heads share them. 2 are the paper's for heads of 64.

    Logits that come in are dropped: neither their scale nor a score before this one has a say.
    """

    hidden: int = 2
    positional = False

    def __post_init__(self):
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError(
                f"Neural.hidden must be an even number of units, at least 2, got {self.hidden}; the second layer has "
                f"half as many, and the paper takes the head width over 32."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        half = self.hidden // 2
        shapes = {
            "query": (dims.key_width, self.hidden),
            "key": (dims.key_width, self.hidden),
            "first": (2 * self.hidden, self.hidden),
            "second": (self.hidden, half),
            "last": (half,),
        }
        made = {}
        for (name, shape), key in zip(shapes.items(), jax.random.split(rng, len(shapes)), strict=True):
            # the default of PyTorch's linear layers, which the released code uses
            reach = shape[0] ** -0.5
            for array, form, seed in zip(("kernel", "bias"), (shape, shape[1:]), jax.random.split(key), strict=True):
                made[f"{name}_{array}"] = jax.random.uniform(seed, form, minval=-reach, maxval=reach)
        return made

    def tokens(self, own: dict, query: Side, key: Side, place: Place, rng: Rng | None) -> tuple[Side, Side]:
        vectors = [side.vector.astype(wide(side.vector.dtype)) for side in (query, key)]
        halved = halves(jax.tree.map(lambda array: array.astype(vectors[0].dtype), own), *vectors)
        return tuple(
            side._replace(extra=side.extra | {"half": half}) for side, half in zip((query, key), halved, strict=True)
        )

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        own = jax.tree.map(lambda array: array.astype(logits.dtype), own)
        return score(own, tile.query.extra["half"], tile.key.extra["half"])

    def width(self, dims: Dims) -> int:
        return self.hidden + self.hidden // 2
