"""The distribution function of a normal variable at each logit: a squared ReLU that is bounded; rows need not sum to 1.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, the Laplace
attention function.
Departs: where value and slope meet those of the squared ReLU is sqrt(1/2), as the constants and the released code have
it; the text prints sqrt 2.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.part import Tile, part
from jattn.parts.normalizers import Normalizer

# relu(s)^2 is 1/2 there, with slope sqrt 2; the deviation gives the same slope
MEAN, DEVIATION = math.sqrt(1 / 2), math.sqrt(1 / (4 * math.pi))


def laplace(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """(1 + erf((s - mean) / (deviation sqrt 2))) / 2, in [0, 1]."""
    # one minus nearly one would lose the digits of small weights, and with them those of a row of small ones
    return jax.scipy.special.erfc((MEAN - logits) / (DEVIATION * math.sqrt(2))) / 2


@part
class Laplace(Normalizer):
    """Mega's constants. A logit of 0 weighs 0.0061, whatever the others are.

    The paper's logits are divided by the keys that a row sees, and not by the root of the width: `Attention(score=
    PerVisible(), normalizer=Laplace(), scale=1)`.
    """

    kind = "free"

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        return jnp.where(seen, laplace(logits), 0)
