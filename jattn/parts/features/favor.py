"""FAVOR+: positive random features whose products are, on average, the exponentials of softmax.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, lemma 1, appendix B.1.
Departs: a key is scaled by the largest exponent *up to each row*, where the released code takes the largest of all
keys, the later ones too; no number is added to small denominators.
"""

import math
from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import RAISED, raised_exp
from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role
from jattn.parts.features.projections import Projection


def scaled(vector: Float[Array, "c h d"]) -> tuple[Float[Array, "c h d"], Float[Array, "c h"]]:
    """Vectors whose products are the logits of softmax, and half of their squared lengths."""
    vector = vector * vector.shape[-1] ** -0.25
    return vector, jnp.square(vector).sum(-1) / 2


def exponents(projected: Float[Array, "c h r"], kernel: str) -> Float[Array, "c h f"]:
    """What is exponentiated, before half of the squared length is taken off: w x, hyperbolic -w x as well."""
    return projected if kernel == "positive" else jnp.concatenate([projected, -projected], -1)


@part
class Favor(Feature):
    """As many features as the projection has directions; "hyperbolic" has twice as many, and less variance.

    `floor` is the released code's epsilon, added to each feature beside the largest of all keys so far; 0 adds none.
    What the paper calls a Performer, without more, has `Generalized` features.
    """

    projection: Projection = Projection()
    kernel: Literal["positive", "hyperbolic"] = "positive"
    floor: float = 1e-6

    def __post_init__(self):
        if self.kernel not in ("positive", "hyperbolic"):
            raise ValueError(
                f"Favor.kernel must be 'positive' or 'hyperbolic', got {self.kernel!r}; sines and cosines are "
                f"Trigonometric()."
            )
        if not 0 <= self.floor < math.inf:
            raise ValueError(
                f"Favor.floor must be at least 0 and finite, got {self.floor}; 0 adds nothing, the paper adds 1e-6."
            )

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        vector, half = scaled(side.vector)
        powers = exponents(self.projection.onto(own["projection"], vector), self.kernel)
        level, share = powers.max(-1), math.log(powers.shape[-1]) / 2
        if self.floor:
            # as published, the length counts beside the floor, and not in the largest exponent
            return jnp.exp(powers - (level + half)[..., None]), level - share
        # what is divided by it is multiplied by it again
        level = lax.stop_gradient(level)
        return raised_exp(powers - level[..., None]), level - half - (share + math.log(RAISED))
