"""Recurrences where tokens lie on several devices: the states before each device's cross, and no token does.

A kernel that ends has no state that says what a row hears, so that the tokens in its reach cross instead.

Source: Martin, Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", ICLR 2018, arXiv:1709.04057
(the associative rule); Hillis, Steele, "Data Parallel Algorithms", CACM 29(12), 1986 (of all devices before, in so many
steps as their number has binary digits).
"""

from typing import Any, Literal, NamedTuple

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
    segment: Int[Array, " t"] | None = None,
    order: Order = "forward",
    taps: int | None = None,
) -> Float[Array, "t c"]:
    """As `recurrent.recur` for the tokens of this device, behind those of all before it, inside `jax.shard_map`.

    Tokens that are not valid come as zeros. In the order "backward" those of each device come reversed, and the last
    device has the first. Raises ValueError for a form that cannot serve the call.
    """
    if taps is not None and taps < lax.axis_size(axis) * len(x):
        (line, segment), earlier = _reached((x, segment), taps - 1, axis, order)
        return recurrent.recur(transition, own, line, form=form, segment=segment, taps=taps)[0][earlier:]
    _, states = recurrent.recur(transition, own, x, form=form, segment=segment)
    ends = jnp.zeros(2, jnp.int32) if segment is None else segment[jnp.array([0, -1])].astype(jnp.int32)
    mine = _Shard(states, recurrent.left(transition, own, x, segment=segment), *ends)
    before = _before(mine, axis, order)
    states = jnp.where(before.last == mine.first, before.states, 0)
    return recurrent.recur(transition, own, x, states, form=form, segment=segment)[0]


def _reached(tokens: Any, reach: int, axis: str, order: Order) -> tuple[Any, int]:
    """These tokens behind so many before them, zeros before the first, and how many these are: no more than all."""
    here, found = len(jax.tree.leaves(tokens)[0]), [tokens]
    reach = min(reach, (lax.axis_size(axis) - 1) * here)
    for steps in range(1, -(-reach // here) + 1):
        last = min(here, reach - (steps - 1) * here)
        found.insert(0, _sent(jax.tree.map(lambda x, last=last: x[here - last :], tokens), steps, axis, order))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found), reach


def _sent(tree: Any, steps: int, axis: str, order: Order) -> Any:
    """What the device so many before this one has; zeros where there is none."""
    devices = lax.axis_size(axis)
    pairs = [(n, n + steps) for n in range(devices - steps)]
    if order == "backward":
        pairs = [(target, source) for source, target in pairs]
    return jax.tree.map(lambda x: lax.ppermute(x, axis, pairs), tree)


def _before(mine: _Shard, axis: str, order: Order) -> _Shard:
    """What the tokens of all devices before this one leave."""
    devices, me = lax.axis_size(axis), lax.axis_index(axis)
    if order == "backward":
        me = devices - 1 - me

    def choose(condition: Bool[Array, ""], one: _Shard, other: _Shard) -> _Shard:
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)

    nothing = jax.tree.map(jnp.zeros_like, mine)
    found, steps = choose(me > 0, _sent(mine, 1, axis, order), nothing), 1
    while steps < devices:
        found = choose(me >= steps, _joined(_sent(found, steps, axis, order), found), found)
        steps *= 2
    return found


def _joined(earlier: _Shard, later: _Shard) -> _Shard:
    factor = jnp.where(earlier.last == later.first, later.factor, 0)
    return _Shard(factor * earlier.states + later.states, earlier.factor * factor, earlier.first, later.last)
