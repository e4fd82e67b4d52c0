"""Performer attention: linear attention with random features that are drawn from a key.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, sections 2 and B.1.
Departs: padded keys are in neither sum, where the released code takes a bias and a dropout rate and reads neither.
"""

from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Float

from jattn.mechanisms import Layout, checks
from jattn.mechanisms.linear import Held, LinearAttention, serve
from jattn.part import Attended
from jattn.parts.features import Feature
from jattn.parts.features.favor import Favor


def performer_attention(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    rng: Array,
    feature: Feature = Favor(),
    *,
    order: Literal["causal", "full"] = "causal",
    layout: Layout | None = None,
    state: Held | None = None,
) -> Attended:
    """Softmax attention estimated in time and memory that grow with the length, over any leading batch axes.

    The same `rng` draws the same features: a call that goes on from the `state` of another, as in
    `jattn.linear_attention`, is given the same one. A model keeps what it has drawn, as arrays of
    `jattn.LinearAttention(feature)`. Raises ValueError for shapes that do not fit, TypeError for what is no key.
    """
    if not isinstance(rng, jax.Array | np.ndarray):
        raise TypeError(f"Features are drawn from a key, got {checks.kind(rng)}; make one, as in jax.random.key(0).")
    return serve(query, key, value, LinearAttention(feature, order=order), layout, state, rng)
