"""One more key of every row, with a learned logit and a learned value for each head, in place of a token to rest on.

Source: Sun, Chen, Kolter, Liu, "Massive Activations in Large Language Models", COLM 2024, arXiv:2402.17762, explicit
attention biases (one learned key and value more in each head).
Departs: the slot has no key; its logit is learned itself, so that it is the same for every query.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.normalizers import Normalizer, _OneMore
from jattn.parts.normalizers.softmax import Softmax


@part
class NullSlot(_OneMore):
    """Adds the slot to any exponential normalizer; logit and value start at 0, where softmax becomes off-by-one."""

    inner: Normalizer = Softmax()

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"logit": jnp.zeros(dims.heads), "value": jnp.zeros((dims.heads, dims.value_width))}

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], Float[Array, "h e"]]:
        logit, value = (of_heads(own, name, tile.place) for name in ("logit", "value"))
        return jnp.broadcast_to(logit[:, None], (logit.shape[0], tile.query.position.shape[0])), value
