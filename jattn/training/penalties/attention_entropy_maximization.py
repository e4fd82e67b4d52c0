"""Makes the entropy of attention large, so that it does not rest on a few tokens alone.

Source: Zhang et al., "AEM: Attention Entropy Maximization for Multiple Instance Learning based Whole Slide Image
Classification", 2024, arXiv:2406.15303 (L = CE + lambda sum a log a, the mean over branches).
Departs: over every row that the layers report, pools and heads alike, of however many examples.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Stats, part
from jattn.training import checks
from jattn.training.penalties import Penalty


@part
class AttentionEntropyMaximization(Penalty):
    """`weight` times the mean of -H in nats, not divided by the log of the tokens, so that it grows with a bag."""

    weight: float = 0.1

    def __post_init__(self):
        checks.between("AttentionEntropyMaximization", "weight", self.weight, 0, 1e9, "0 penalizes nothing")

    def __call__(self, own: dict, stats: Stats) -> Float[Array, ""]:
        if stats.entropy is None:
            raise ValueError(
                "AttentionEntropyMaximization needs attention that has weights, got none; choose another mechanism."
            )
        # not 0 times a gradient, which would turn -0 to 0 in those of the loss
        if self.weight == 0:
            return jnp.zeros((), stats.entropy.dtype)
        return -self.weight * jnp.where(stats.visible > 0, stats.entropy, 0).mean()
