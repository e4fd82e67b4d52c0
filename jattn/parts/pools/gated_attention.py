"""Weighs tokens by a small network of each alone, one half of which gates the other.

Source: Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, arXiv:1802.04712,
equations 7 and 9; several rows, and their width, as in Zhang et al., "AEM: Attention Entropy Maximization for Multiple
Instance Learning based Whole Slide Image Classification", 2024, arXiv:2406.15303.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, Rng, Side, part
from jattn.parts.pools import Pool, Pooled, pooled


def gated_logits(
    x: Float[Array, "n m"], feature: Float[Array, "m f"], gate: Float[Array, "m f"], row: Float[Array, "f r"]
) -> Float[Array, "r n"]:
    """What each row finds in each token: w · (tanh(V x) ⊙ sigmoid(U x))."""
    return ((jnp.tanh(x @ feature) * jax.nn.sigmoid(x @ gate)) @ row).T


@part
class GatedAttention(Pool):
    """`width` features inside, and as many `rows` as there are branches, which share these features."""

    kernels: ClassVar[tuple[str, ...]] = ("feature", "gate", "row")

    width: int = 128
    rows: int = 1

    def __post_init__(self):
        for name, size in (("width", self.width), ("rows", self.rows)):
            if size < 1:
                raise ValueError(f"GatedAttention.{name} must be at least 1, got {size}; the paper's are 128 and 1.")

    def params(self, rng: Array, dims: Dims) -> dict:
        width = dims.need("model_width", self)
        sizes = {"feature": (width, self.width), "gate": (width, self.width), "row": (self.width, self.rows)}
        keys = jax.random.split(rng, len(sizes))
        # truncated normal of variance 1 / (width of the input)
        fresh = jax.nn.initializers.lecun_normal()
        return {name: fresh(key, shape) for key, (name, shape) in zip(keys, sizes.items(), strict=True)}

    def apply(
        self, own: dict, x: Float[Array, "n m"], side: Side, bias: Float[Array, " n"] | None, rng: Rng | None
    ) -> Pooled:
        clean = x if side.valid is None else jnp.where(side.valid[:, None], x, 0)
        kernels = (own[name] for name in self.kernels)
        return pooled(x, gated_logits(clean.astype(wide(x.dtype)), *kernels), side, bias)
