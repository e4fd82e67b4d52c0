"""Query heads in contiguous groups that share one key and value head each; groups of one are ordinary attention.

Source: Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", EMNLP
2023, arXiv:2305.13245, section 2.2; Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762,
section 3.2.2.
Departs: no biases, and the output projection starts at 0, so that a fresh block is the identity.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.layers.heads import Heads
from jattn.layers.product import product
from jattn.mechanisms import Split
from jattn.part import Dims, part

# truncated normal of variance 1 / (width of the input)
FRESH = jax.nn.initializers.lecun_normal()


def project(x: Float[Array, "*b t m"], kernel: Float[Array, "m hd"], heads: int) -> Float[Array, "*b t h d"]:
    """One product for all heads, in the dtype of `x`."""
    return product(x, kernel).reshape(*x.shape[:-1], heads, kernel.shape[1] // heads)


@part
class Grouped(Heads):
    """`key_heads=None` gives each query head a key head of its own; 1 is multi-query attention."""

    key_heads: int | None = None

    AXES = {
        "query": ("width", "heads"),
        "key": ("width", "key_heads"),
        "value": ("width", "key_heads"),
        "output": ("heads", "width"),
    }

    def __post_init__(self):
        if self.key_heads is not None and self.key_heads < 1:
            raise ValueError(
                f"Grouped.key_heads must be at least 1, got {self.key_heads}; for as many as query heads use None."
            )

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        key_heads = self.key_heads or heads
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(
                f"A width must be a positive multiple of the heads, got width {width} for {heads} heads; change one."
            )
        if heads % key_heads:
            raise ValueError(
                f"Query heads must be a multiple of Grouped.key_heads, got {heads} and {key_heads}; use a divisor."
            )
        return Dims(heads, key_heads, key_heads, width // heads, width // heads, width, depth)

    def params(self, rng: Array, dims: Dims) -> dict:
        width = dims.need("model_width", self)
        query, key, value = jax.random.split(rng, 3)
        return {
            "query": FRESH(query, (width, dims.heads * dims.key_width)),
            "key": FRESH(key, (width, dims.key_heads * dims.key_width)),
            "value": FRESH(value, (width, dims.value_heads * dims.value_width)),
            "output": jnp.zeros((dims.heads * dims.value_width, width)),
        }

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        source = x if flow.memory is None else flow.memory
        _, heads, key_heads = flow.layout.head
        return Split(
            project(x, own["query"], heads),
            project(source, own["key"], key_heads),
            project(source, own["value"], key_heads),
        )

    def merge(
        self, own: dict, out: Float[Array, "*b t h e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        return product(out.reshape(*out.shape[:-2], own["output"].shape[0]), own["output"]), {}
