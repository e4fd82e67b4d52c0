"""Weights between softmax and sparsemax: low logits get exactly 0, the fewer keys the nearer `alpha` is to 2.

Source: Peters, Niculae, Martins, "Sparse Sequence-to-Sequence Models", ACL 2019, arXiv:1905.05702 (alpha-entmax, 1.5 by
default); Correia, Niculae, Martins, "Adaptively Sparse Transformers", EMNLP 2019, arXiv:1909.00015 (in attention).
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer

# engines look for z within 1 of its start, to a rounding of 1; 32 nats are more than the log of any number of keys
LEAST_UNIT = 1 / 32
# a power that a few products give costs a tenth of an exponential and a logarithm
MOST_POWER = 4


def unit(sparsity: Float[Array, "..."]) -> Float[Array, "..."]:
    """How much z grows for each nat of threshold, so that it ends at most 1 above where the largest logit weighs 1.

    That is min(1 / sparsity, log n) nats at most in a row of n keys. Any unit gives the same weights, so it has no
    gradient, and that of alpha loses fewer bits.
    """
    return jnp.maximum(lax.stop_gradient(sparsity), LEAST_UNIT)


def entmax(
    logits: Float[Array, "h t s"],
    z: Float[Array, "h t 1"],
    seen: Bool[Array, "#h t s"],
    sparsity: Float[Array, "h 1 1"] | Float[Array, ""],
    power: int | None = None,
) -> Float[Array, "h t s"]:
    """[1 + sparsity (s - z / unit)]_+ to the power 1 / sparsity, for sparsity = alpha - 1.

    The paper's [(alpha - 1) s - tau]_+ ^ (1 / (alpha - 1)) with tau = sparsity z / unit - 1: so written, it becomes
    exp(s - z / unit) as alpha nears 1, and loses no bits there. `power` is 1 / sparsity where that is a small number.
    """
    height = sparsity * (logits - z / unit(sparsity))
    above = seen & (height > -1)
    height = jnp.where(above, height, -1 if power else 0)
    return (
        lax.integer_pow(1 + height, power)
        if power
        else jnp.where(above, jnp.exp(jnp.log1p(height) * (1 / sparsity)), 0)
    )


@part
class Entmax(Normalizer):
    """`alpha` above 1, where it would be softmax, and at most 2, which is sparsemax; `LearnedEntmax` learns it."""

    alpha: float = 1.5
    kind = "threshold"

    def __post_init__(self):
        if not 1 < self.alpha <= 2:
            raise ValueError(
                f"Entmax.alpha must be above 1 and at most 2, got {self.alpha}; 1 is Softmax(), 2 is as sparse as "
                f"weights with gradients get."
            )

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        power = round(1 / (self.alpha - 1))
        product = power <= MOST_POWER and math.isclose(power * (self.alpha - 1), 1)
        return entmax(logits, z, seen, jnp.asarray(self.alpha - 1, logits.dtype), power if product else None)

    def begin(self, own: dict, top: Float[Array, "h t"], tile: Tile) -> Float[Array, "h t"]:
        # the largest logit alone has mass 1 here
        return top * unit(jnp.asarray(self.alpha - 1, top.dtype))

    def degree(self, own: dict, tile: Tile) -> float:
        return 1 / (self.alpha - 1)
