"""Keeps every head's entropy within a band around a learned share of the largest possible.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, algorithm 1 (EReg).
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.mechanisms.entropy_penalty import check_tolerance, clipped, entropy_penalty
from jattn.part import Dims, Stats, part
from jattn.training import checks
from jattn.training.penalties import Penalty


@part
class EntropyBand(Penalty):
    """`weight` and `tolerance` as published for the sum over queries; each head's share begins at `start`.

    The "global" ceiling is the log of the context, as published, which a causal row never reaches; the "causal" one the
    log of the keys that the row sees. A learned share outside [0, 1], which the paper's does not rule out, counts as
    the nearer end, with the gradient that it has there.
    """

    weight: float = 1e-5
    tolerance: float = 0.2
    reduction: Literal["sum_queries", "head_mean"] = "sum_queries"
    ceiling: Literal["global", "causal"] = "global"
    start: float = 0.5
    # one reduction sums over the batch, the other squares a mean over it
    mean = False

    def __post_init__(self):
        checks.between("EntropyBand", "weight", self.weight, 0, 1e9, "0 penalizes nothing")
        check_tolerance("EntropyBand.tolerance", self.tolerance)
        checks.between("EntropyBand", "start", self.start, 0, 1, "it is a share of the ceiling")
        checks.one_of("EntropyBand", "reduction", self.reduction, ("sum_queries", "head_mean"), "use 'sum_queries'")
        checks.one_of("EntropyBand", "ceiling", self.ceiling, ("global", "causal"), "use 'global'")

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"threshold": jnp.full((dims.need("depth", self), dims.heads), self.start, float)}

    def __call__(self, own: dict, stats: Stats) -> Float[Array, ""]:
        if stats.entropy is None:
            raise ValueError("EntropyBand needs attention that has weights, got none; choose another mechanism.")
        if self.ceiling == "global":
            ceiling = jnp.full((1, 1, 1, 1), jnp.log(stats.entropy.shape[2]))
        else:
            ceiling = jnp.log(jnp.maximum(stats.visible, 1).astype(stats.entropy.dtype))
        # an optimizer may leave [0, 1], and comes back
        share, valid = clipped(own["threshold"]), stats.visible > 0
        found = entropy_penalty(
            stats.entropy, share, ceiling, valid=valid, tolerance=self.tolerance, reduction=self.reduction
        )
        return self.weight * found
