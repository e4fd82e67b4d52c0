"""Attention on a mesh of devices: each attends for its own examples and heads, which know their true numbers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from jattn.layers.axes import Axes
from jattn.layers.flow import Flow
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import attend as attend_here
from jattn.part import Attended, Rng, Stats, Variables


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

    Raises ValueError for what those do not divide.
    """
    axes, rng = flow.axes, flow.rng
    if axes is None:
        return attend_here(query, key, value, attention, variables=variables, rng=rng, layout=layout, state=flow.state)
    if flow.state is not None:
        raise ValueError("A mesh splits no decoding state, got one; decode without a mesh, on one device.")
    if not isinstance(rng, Rng | None):
        raise TypeError("On a mesh each example needs a key of its own, got one for all; pass jattn.part.Rng.")
    _check("batch", "examples", len(query), axes)
    for kind, vectors in (("heads", query), ("key heads", key), ("value heads", value)):
        _check("heads", kind, vectors.shape[2], axes)
    for vectors in (query, key):
        _check("time", "tokens", vectors.shape[1], axes)

    batch, heads, time = (axes.over(name) or None for name in ("batch", "heads", "time"))
    if axes.parts("time") > 1:
        attention = dataclasses.replace(attention, context_axis=time[0])
    _, all_heads, all_key_heads = layout.head
    whole = PartitionSpec()

    def tokens(array: Array) -> PartitionSpec:
        """The spec of one value a token: "n" or "b n"."""
        return PartitionSpec(batch, time) if jnp.ndim(array) > 1 else PartitionSpec(time)

    def valid(array: Array) -> PartitionSpec:
        """The spec of what is valid: of tokens, or a number, of all or for each example."""
        if jnp.issubdtype(jnp.result_type(array), jnp.integer):
            return PartitionSpec(batch) if jnp.ndim(array) else whole
        return tokens(array)

    def pairs(array: Array | None) -> PartitionSpec:
        """The spec of a mask or a bias "*b #h #t s"."""
        if array is None:
            return whole
        lead = (batch,) if array.ndim == 4 else ()
        over = (heads if array.shape[-3] > 1 else None), (time if array.shape[-2] > 1 else None)
        return PartitionSpec(*lead, *over)

    data = {
        "positions": jax.tree.map(tokens, layout.positions),
        "segments": jax.tree.map(tokens, layout.segments),
        "valid": jax.tree.map(valid, layout.valid),
        "mask": pairs(layout.mask),
        "bias": pairs(layout.bias),
        "extra": PartitionSpec(batch, time),
    }
    given = {name: getattr(layout, name) for name in data}
    keys = None if rng is None else Rng(whole, whole, PartitionSpec(batch))

    def here(query, key, value, variables, rng, given, layer):
        numbers = _number(heads) * query.shape[2] + np.arange(query.shape[2])
        examples = _number(batch) * len(query) + jnp.arange(len(query))
        mine = Layout(**given, layer=layer, head=(numbers, all_heads, all_key_heads), example=examples)
        found = attend_here(query, key, value, attention, variables=variables, rng=rng, layout=mine)
        if found.stats.observed:
            raise ValueError(f"A mesh splits no part that observes, got {sorted(found.stats.observed)}; train without.")
        return found

    vectors = PartitionSpec(batch, time, heads)
    run = jax.shard_map(
        here,
        mesh=axes.mesh,
        in_specs=(vectors, vectors, vectors, whole, keys, data, whole),
        out_specs=Attended(vectors, Stats(vectors, vectors, vectors, vectors, whole)),
        # the engine's loops carry what no type says to be split
        check_vma=False,
    )
    return run(query, key, value, variables, rng, given, jnp.asarray(layout.layer))


def _check(name: str, what: str, size: int, axes: Axes) -> None:
    if size % (parts := axes.parts(name)):
        raise ValueError(
            f"The mesh splits {what} into {parts} parts, by {' and '.join(axes.over(name))}, got {size}; use a "
            f"multiple of {parts}, or fewer devices there."
        )


def _number(over: tuple[str, ...] | None) -> Any:
    """Which part of a split axis this device has."""
    return jax.lax.axis_index(over) if over else 0
