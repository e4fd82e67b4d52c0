"""Linear attention where tokens lie on several devices: what keys amount to crosses, and no key does.

Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, arXiv:2006.16236, section 3.3 (the sums); Hillis,
Steele, "Data Parallel Algorithms", CACM 29(12), 1986 (sums over all devices before, in so many steps as their number
has binary digits).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jattn.engines import prefix
from jattn.engines.prefix import Rule, State
from jattn.engines.sums import added
from jattn.part import Attended, Place, Side


class _Shard(NamedTuple):
    """What tokens that follow one another amount to, and what they leave of earlier ones."""

    state: State
    spent: Float[Array, "h #f"]
    first: Int[Array, ""]
    whole: Bool[Array, ""]


def attend(
    rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place, axis: str
) -> Attended:
    """As `prefix.attend` for the tokens of this device, behind or beside those of all, inside `jax.shard_map`.

    Raises ValueError where a device has no whole number of a feature's blocks.
    """
    if rule.feature.block and len(key.vector) % rule.feature.block:
        raise ValueError(
            f"Each device holds whole blocks of {rule.feature.block} tokens, got {len(key.vector)} tokens on each; use "
            f"a multiple, or fewer devices on the axis {axis!r}."
        )
    state, spent = prefix.absorb(rule, own, query, key, value, place)
    # what rounding took is less than the last place of sums that few are added to, and is not sent
    state, start = (
        each._replace(sums=each.sums._replace(low=None))
        for each in (state, prefix.start(rule, own, query, key, value, place))
    )
    segment = jnp.full(1, -1) if key.segment is None else key.segment
    mine = _Shard(state, spent, segment[0].astype(state.segment.dtype), (segment == segment[:1]).all())
    before = _before(rule, mine, start, axis)
    if rule.order == "causal":
        return prefix.attend(rule, own, query, key, value, place, before.state)[0]
    last = lax.axis_index(axis) == lax.axis_size(axis) - 1
    everything = _joined(rule, before, mine).state
    everything = jax.tree.map(lambda x: lax.psum(jnp.where(last, x, 0), axis), everything)
    return prefix.read(rule, own, query, key, value, place, everything)[0]


def _before(rule: Rule, mine: _Shard, start: State, axis: str) -> _Shard:
    """What the tokens of all devices before this one amount to."""
    devices, me = lax.axis_size(axis), lax.axis_index(axis)

    def from_before(shard: _Shard, steps: int) -> _Shard:
        return jax.tree.map(lambda x: lax.ppermute(x, axis, [(n, n + steps) for n in range(devices - steps)]), shard)

    def choose(condition: Bool[Array, ""], one: _Shard, other: _Shard) -> _Shard:
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)

    found, steps = choose(me > 0, from_before(mine, 1), mine._replace(state=start)), 1
    while steps < devices:
        found = choose(me >= steps, _joined(rule, from_before(found, steps), found), found)
        steps *= 2
    return found


def _joined(rule: Rule, earlier: _Shard, later: _Shard) -> _Shard:
    kept = later.whole & (earlier.state.segment == later.first)
    sums = jax.vmap(functools.partial(added, rule.feature.floor, kept))(
        later.spent, earlier.state.sums, later.state.sums
    )
    visible = jnp.where(kept, earlier.state.visible, 0) + later.state.visible
    state = State(sums, visible, later.state.segment)
    return _Shard(state, earlier.spent + later.spent, earlier.first, earlier.whole & kept)
