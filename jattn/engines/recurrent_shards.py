"""Recurrences where tokens lie on several devices: the states before each device's cross, and no token does.

Source: Martin, Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", ICLR 2018, arXiv:1709.04057
(the associative rule); Hillis, Steele, "Data Parallel Algorithms", CACM 29(12), 1986 (of all devices before, in so many
steps as their number has binary digits).
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from jattn.engines import recurrent
from jattn.parts.transitions import Transition

Order = Literal["forward", "backward"]


class _Shard(NamedTuple):
    """What tokens that follow one another leave, of themselves and of what was before, and the segments they touch."""

    states: Inexact[Array, "c n"]
    factor: Inexact[Array, "c n"]
    first: Int[Array, ""]
    last: Int[Array, ""]


def recur(
    transition: Transition,
    own: dict,
    x: Float[Array, "t c"],
    axis: str,
    *,
    form: str | None = None,
    valid: Bool[Array, " t"] | None = None,
    segment: Int[Array, " t"] | None = None,
    order: Order = "forward",
) -> Float[Array, "t c"]:
    """As `recurrent.recur` for the tokens of this device, behind those of all before it, inside `jax.shard_map`.

    In the order "backward" the tokens of each device come reversed, and the last device has the first.
    """
    data = {"valid": valid, "segment": segment}
    _, states = recurrent.recur(transition, own, x, form=form, **data)
    ends = jnp.zeros(2, jnp.int32) if segment is None else segment[jnp.array([0, -1])].astype(jnp.int32)
    mine = _Shard(states, recurrent.left(transition, own, x, **data), *ends)
    before = _before(mine, axis, order)
    states = jnp.where(before.last == mine.first, before.states, 0)
    return recurrent.recur(transition, own, x, states, form=form, **data)[0]


def _before(mine: _Shard, axis: str, order: Order) -> _Shard:
    """What the tokens of all devices before this one leave."""
    devices, me = lax.axis_size(axis), lax.axis_index(axis)
    if order == "backward":
        me = devices - 1 - me

    def from_before(shard: _Shard, steps: int) -> _Shard:
        pairs = [(n, n + steps) for n in range(devices - steps)]
        if order == "backward":
            pairs = [(devices - 1 - source, devices - 1 - target) for source, target in pairs]
        return jax.tree.map(lambda x: lax.ppermute(x, axis, pairs), shard)

    def choose(condition: Bool[Array, ""], one: _Shard, other: _Shard) -> _Shard:
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)

    nothing = jax.tree.map(jnp.zeros_like, mine)
    found, steps = choose(me > 0, from_before(mine, 1), nothing), 1
    while steps < devices:
        found = choose(me >= steps, _joined(from_before(found, steps), found), found)
        steps *= 2
    return found


def _joined(earlier: _Shard, later: _Shard) -> _Shard:
    factor = jnp.where(earlier.last == later.first, later.factor, 0)
    return _Shard(factor * earlier.states + later.states, earlier.factor * factor, earlier.first, later.last)
