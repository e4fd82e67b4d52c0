"""One more key of value 0, with a learned logit for each head, takes weight that no token deserves.

Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv:2508.10925, section 2 (a learned bias in the
denominator of the softmax of each head).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Dims, Tile, of_heads, part
from jattn.parts.normalizers import Normalizer, _OneMore
from jattn.parts.normalizers.softmax import Softmax


@part
class Sink(_OneMore):
    """Adds the sink to any exponential normalizer; its logit starts at 0, where softmax becomes off-by-one."""

    inner: Normalizer = Softmax()

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"logit": jnp.zeros(dims.heads)}

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], None]:
        logit = of_heads(own, "logit", tile.place)
        return jnp.broadcast_to(logit[:, None], (logit.shape[0], tile.query.position.shape[0])), None
