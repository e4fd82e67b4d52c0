"""Learned features with spikes, trained so that their products have the order and the low entropy of softmax's weights.

Source: Zhang, Bhatia, Kumbong, Re, "The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry",
ICLR 2024, arXiv:2402.04347, section 4; the same group's LoLCATs code for softmax over each half, a map for each head
and the start of maps of another width.
Departs: "exponential" is the plain exponential of the paper's equation, where the code subtracts the largest of each
half, which does not cancel: the engine carries its scale.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import RAISED, raised_exp
from jattn.part import Dims, Place, Side, part
from jattn.parts.features import Feature, Mapped, Role

# the released code's: softmax over features underflows, and a row whose products are all 0 would see nothing
LEAST = 1e-12


def projected(vector: Float[Array, "c h d"], matrix: Float[Array, "h d r"]) -> Float[Array, "c h r"]:
    """Each head's vectors by its own matrix."""
    # they are exponents: a TPU would round them to three digits
    return jnp.einsum("chd,hdr->chr", vector, matrix.astype(vector.dtype), precision=lax.Precision.HIGHEST)


def spikes(u: Float[Array, "c h r"]) -> Float[Array, "c h f"]:
    """Softmax over u beside softmax over -u, none below 1e-12."""
    return jnp.maximum(jnp.concatenate([jax.nn.softmax(u), jax.nn.softmax(-u)], -1), LEAST)


@part
class Hedgehog(Feature):
    """Twice as many features as the `width` of the map, which is that of keys where it is None.

    A map of that width starts as the identity, any other small and random. Queries and keys have maps of their own.
    """

    function: Literal["softmax", "exponential"] = "softmax"
    width: int | None = None

    def __post_init__(self):
        if self.function not in ("softmax", "exponential"):
            raise ValueError(
                f"Hedgehog.function must be 'softmax' or 'exponential', got {self.function!r}; leave it out for "
                f"softmax."
            )
        if self.width is not None and self.width < 1:
            raise ValueError(f"Hedgehog.width must be at least 1, got {self.width}; leave it out for that of keys.")

    def params(self, rng: Array, dims: Dims) -> dict:
        rows, columns = dims.key_width, self.width or dims.key_width

        def start(rng, heads):
            if rows == columns:
                return jnp.tile(jnp.eye(rows), (heads, 1, 1))
            # as released: the library's rule takes the product of both sizes for the number of inputs
            bound = math.sqrt(6 / (rows * columns))
            return jax.random.uniform(rng, (heads, rows, columns), minval=-bound, maxval=bound)

        query, key = jax.random.split(rng)
        return {"query": start(query, dims.heads), "key": start(key, dims.key_heads)}

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        head = jnp.asarray(place.head)
        if role == "key":
            # the key heads of these query heads, each once
            shared = place.heads // place.key_heads
            head = head[:: len(head) // side.vector.shape[1]] // shared
        u = projected(side.vector, own[role][head])
        if self.function == "softmax":
            return spikes(u), None
        # what is divided by it is multiplied by it again
        level = lax.stop_gradient(jnp.abs(u).max(-1))
        return raised_exp(jnp.concatenate([u, -u], -1) - level[..., None]), level - math.log(RAISED)
