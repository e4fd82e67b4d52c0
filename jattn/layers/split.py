"""Attention of a layer: on one device, or on a mesh of them, split by the names of its axes."""

import dataclasses

from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.mechanisms import Layout, Mechanism, mesh
from jattn.mechanisms.attention import attend as attend_here
from jattn.numerics import wide
from jattn.part import Attended, Rng, Variables


def attend(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s j e"],
    attention: Mechanism,
    *,
    variables: Variables,
    layout: Layout,
    flow: Flow,
) -> Attended:
    """As `jattn.attend` with the keys and the state of `flow`, split by its axes "batch", "heads" and "time".

    Raises ValueError for what those do not divide, and for tokens of an attention that has no `context_axis`.
    """
    axes, rng = flow.axes, flow.rng
    if axes is None:
        return attend_here(query, key, value, attention, variables=variables, rng=rng, layout=layout, state=flow.state)
    if flow.state is not None:
        raise ValueError("A mesh splits no decoding state, got one; decode without a mesh, on one device.")
    if not isinstance(rng, Rng | None):
        raise TypeError("On a mesh each example needs a key of its own, got one for all; pass jattn.part.Rng.")
    if axes.parts("time") > 1:
        if not hasattr(attention, "context_axis"):
            raise ValueError(
                f"A mesh splits tokens where attention has a context_axis, got {type(attention).__name__}, which has "
                f"none; split examples by data or fsdp, or heads by tensor."
            )
        attention = dataclasses.replace(attention, context_axis=axes.over("time")[0])
    # a single head is whole on every device; what it is made of and makes is split by features
    heads = axes.over("heads") if query.shape[-2] > 1 else ()
    cut = mesh.Cut(axes.mesh, (axes.over("batch"),), heads, axes.over("time"))
    with mesh.untyped():
        attention, own = attention.closed(attention.own(variables), wide(query.dtype))
    return mesh.attend(attend_here, attention, (query, key, value), own, rng, layout, cut)
