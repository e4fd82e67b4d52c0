"""A recurrence along the tokens of a layer's input, example by example, on one device or a mesh of them.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 3.1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from jattn.layers.flow import Flow
from jattn.mechanisms.recurrence import Recurrence
from jattn.mechanisms.recurrence import recur as over_batch
from jattn.part import Variables


def recur(
    recurrence: Recurrence, own: dict, x: Float[Array, "*b t m"], flow: Flow, state: Any = None
) -> tuple[Float[Array, "*b t m"], Any]:
    """What rows hear, and the state after the last token; `state` has the leading axes of `x`.

    Tokens are valid as keys are, and segments are theirs. Raises ValueError for a memory, which no recurrence goes
    along, and on a mesh for what that does not divide.
    """
    if flow.memory is not None:
        raise ValueError(
            "A recurrence goes along the tokens that attend, got a flow.memory; use it in self-attention, and other "
            "heads where a layer looks across."
        )
    given = flow.layout.valid, flow.layout.segments
    valid, segments = (data[1] if isinstance(data, tuple) else data for data in given)
    rows = [_valid(valid, x), None if segments is None else jnp.broadcast_to(jnp.asarray(segments), x.shape[:-1])]
    if flow.axes is not None:
        return _on_mesh(recurrence, own, x, rows, flow)
    return tuple(over_batch(x, recurrence, variables=Variables(own, {}), valid=rows[0], segments=rows[1], state=state))


def _on_mesh(recurrence: Recurrence, own: dict, x: Float[Array, "b t m"], rows: list, flow: Flow) -> tuple:
    axes = flow.axes
    for name, size in (("batch", x.shape[0]), ("time", x.shape[1])):
        if size % (parts := axes.parts(name)):
            raise ValueError(
                f"The mesh splits {name} into {parts} parts, by {' and '.join(axes.over(name))}, got {size}; use a "
                f"multiple of {parts}."
            )
    over = axes.over("batch"), axes.over("time")
    if axes.parts("time") > 1:
        recurrence = dataclasses.replace(recurrence, context_axis=over[1][0])

    def here(own: dict, x: Array, rows: list) -> Array:
        return jax.vmap(lambda x, rows: recurrence.apply(own, x, *rows)[0])(x, rows)

    tokens = axes.spec("batch", "time")
    split = jax.shard_map(
        here,
        mesh=axes.mesh,
        in_specs=(PartitionSpec(), tokens, tokens),
        out_specs=tokens,
        axis_names={name for each in over for name in each},
        # what loops carry is not typed by how it varies
        check_vma=False,
    )
    return split(own, x, rows), None


def _valid(data: Any, x: Float[Array, "*b t m"]) -> Bool[Array, "*b t"] | None:
    """What is valid as boolean rows; it may be numbers of tokens."""
    if data is None:
        return None
    data = jnp.asarray(data)
    if data.dtype != bool:
        data = jnp.expand_dims(jnp.arange(x.shape[-2]), tuple(range(data.ndim))) < data[..., None]
    return jnp.broadcast_to(data, x.shape[:-1])
