"""Sorts heads by the entropy of their attention, from collapsed to overloaded.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, section 3 (quarters of the
largest entropy that any head of the model has).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jattn.numerics import known

# quarters of the largest entropy; the middle two are well behaved
BANDS = ("collapsed", "low", "high", "overloaded")


def entropy_bands(
    entropy: Float[Array, "... h"], largest: Float[Array, ""] | float | None = None
) -> Int[Array, "... h"]:
    """The quarter of `largest` that each entropy lies in, by its place in `BANDS`; the largest itself is overloaded.

    `largest` is that of all these heads where None; `causal_ceiling` compares models. Above it is overloaded too. Where
    it is 0 every head is collapsed. An entropy that is no number is not counted for the largest, and in no band: its
    place is behind the last. Raises ValueError where there is no head, and for a `largest` known to be below 0.
    """
    entropy = jnp.asarray(entropy)
    if not entropy.size:
        raise ValueError(f"Heads are sorted by the largest entropy of some, got none, shape {entropy.shape}; give one.")
    if largest is not None and (held := known(largest)) is not None and not (held >= 0).all():
        raise ValueError(f"The largest entropy is at least 0, got {held}; leave it out for that of these heads.")
    largest = jnp.nanmax(entropy) if largest is None else largest
    edges = jnp.arange(1, len(BANDS)) / len(BANDS) * largest
    # edges that are all 0 would have a 0 above them
    quarter = jnp.where(largest > 0, jnp.searchsorted(edges, entropy, side="right"), 0)
    return jnp.where(jnp.isnan(entropy), len(BANDS), quarter).astype(jnp.int32)


def causal_ceiling(tokens: int) -> float:
    """The largest mean entropy, in nats, of a head whose query i sees i keys: log(tokens!) / tokens."""
    if tokens < 1:
        raise ValueError(f"A context has at least 1 token, got {tokens}; give that of the model.")
    return math.lgamma(tokens + 1) / tokens
