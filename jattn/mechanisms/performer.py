"""Performer attention: linear attention with random features that are drawn from a key.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, sections 2 and B.1.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import attend
from jattn.mechanisms.linear import Held, LinearAttention
from jattn.part import Attended, Dims
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
    `jattn.LinearAttention(feature)`. Raises ValueError for shapes that do not fit.
    """
    attention = LinearAttention(feature, order=order)
    return _serve(query, key, value, rng, attention, layout, state)


# as a whole: operation by operation, a call at a new shape would compile dozens of small programs
@partial(jax.jit, static_argnums=4)
def _serve(
    query: Array,
    key: Array,
    value: Array,
    rng: Array,
    attention: LinearAttention,
    layout: Layout | None,
    state: Held | None,
) -> Attended:
    dims = Dims.of(query, key, value)
    variables = attention.init(rng, dims)
    if state is None and attention.order == "causal":
        one = attention.state(dims, query.dtype, attention.own(variables))
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*query.shape[:-3], *leaf.shape)), one)
    return attend(query, key, value, attention, variables=variables, layout=layout, state=state)
