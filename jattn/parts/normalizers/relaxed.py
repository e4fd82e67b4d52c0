"""Mixes the weights with the uniform distribution over the keys that a row sees.

Source: Lohrenz et al., "Relaxed Attention for Transformer Models", 2022, arXiv:2209.09735.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer, Run, of_inner, prepared_inner
from jattn.parts.normalizers.softmax import Softmax


@part
class Relaxed(Normalizer):
    """(1 - amount) w + amount / visible, for the weights w of any exponential normalizer without a null slot."""

    inner: Normalizer = Softmax()
    amount: float = 0.1
    kind = "free"
    visible = True

    def __post_init__(self):
        if self.inner.kind != "exponential" or type(self.inner).null is not Normalizer.null:
            raise ValueError(
                f"Relaxed.inner must be an exponential normalizer without a null slot, got "
                f"{type(self.inner).__name__}; relax it first, as in Softmax."
            )
        if not 0 <= self.amount <= 1:
            raise ValueError(f"Relaxed.amount must lie in [0, 1], got {self.amount}; 0 relaxes nothing.")

    @property
    def loops(self) -> bool:
        """Loops where the inner one does."""
        return self.inner.loops

    def prepare(self, own: dict, run: Run) -> dict:
        level = run(self.inner, own["inner"]).stats.log_normalizer
        # a row that sees nothing has none
        return {"level": jnp.where(jnp.isfinite(level), level, 0)} | prepared_inner(self.inner, own, run)

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        level = tile.query.extra["level"][..., None]
        weights = self.inner.weights(own["inner"], logits, level, seen, of_inner(tile))
        uniform = 1 / jnp.maximum(tile.visible, 1).astype(logits.dtype)[..., None]
        return jnp.where(seen, (1 - self.amount) * weights + self.amount * uniform, 0)
