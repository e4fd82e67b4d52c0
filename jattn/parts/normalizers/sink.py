"""One more key of value 0, with a learned logit for each head, takes weight that no token deserves.

Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv:2508.10925, section 2 (a learned bias in the
denominator of the softmax of each head).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Dims, Tile, part
from jattn.parts.normalizers import Normalizer, refuse_unshared
from jattn.parts.normalizers.softmax import Softmax


@part
class Sink(Normalizer):
    """Adds the sink to any exponential normalizer; its logit starts at 0, where softmax becomes off-by-one."""

    inner: Normalizer = Softmax()
    kind = "exponential"

    def __post_init__(self):
        refuse_unshared("Sink", self.inner)

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"logit": jnp.zeros(dims.heads)}

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        return self.inner.weights(own["inner"], logits, z, seen, tile)

    def level(
        self, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
    ) -> Float[Array, "h t s"]:
        return self.inner.level(own["inner"], logits, seen, tile)

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], None]:
        logit = own["logit"][tile.place.head]
        return jnp.broadcast_to(logit[:, None], (logit.shape[0], tile.query.position.shape[0])), None
