"""Exact attention where queries and keys lie on several devices: blocks of keys go round a ring, and results merge.

Source: Liu, Zaharia, Abbeel, "Ring Attention with Blockwise Transformers for Near-Infinite Context", 2023,
arXiv:2310.01889, section 3.
Departs: any score, mask and normalizer that merges, statistics with gradients, and a backward pass from the merged
rows, in which gradients of keys and values go round with them; what needs all keys at once gathers them instead.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jattn import engines
from jattn.engines import Pairs, Rule, backward, forward, tiled, visits, zigzag
from jattn.engines.derivatives import forward_only, reverse_only
from jattn.engines.merge import join
from jattn.engines.tiles import add, at_top, cut
from jattn.engines.varying import alike
from jattn.numerics import wide
from jattn.part import Attended, Place, Side, Stats
from jattn.parts.masks import Mask


def attend(
    rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place, pairs: Pairs, axis: str
) -> Attended:
    """As `tiled.attend` for the queries of this device and the keys of all, inside `jax.shard_map` over `axis`.

    Every device has as many queries, and as many keys; masks and biases have the rows of its queries and all columns.
    Where a mask gives some devices more work than others, tokens are dealt anew for the time of the call. Raises
    ValueError for a normalizer that needs whole rows at once: `gathered` keys serve it.
    """
    if rule.normalizer.kind == "threshold" or rule.normalizer.loops:
        raise ValueError(
            f"A ring merges what each device's keys give, and {type(rule.normalizer).__name__} needs all keys at once; "
            f"gather them first."
        )
    devices, tokens = lax.axis_size(axis), (query.vector.shape[0], key.vector.shape[0])
    if not deals(rule.mask, place, tokens, devices):
        return _in_turns(rule, own, query, key, value, place, pairs, (axis, 1))

    def dealt(side: Side) -> Side:
        return zigzag.deal(side._replace(length=None), axis)._replace(length=side.length)

    def of_pairs(array: Array | None) -> Array | None:
        if array is None:
            return None
        array = zigzag.columns(array, devices)
        return array if array.shape[1] == 1 else jnp.swapaxes(zigzag.deal(jnp.swapaxes(array, 0, 1), axis), 0, 1)

    pairs = pairs._replace(mask=of_pairs(pairs.mask), bias=of_pairs(pairs.bias))
    value = zigzag.deal(value, axis)
    return zigzag.collect(_in_turns(rule, own, dealt(query), dealt(key), value, place, pairs, (axis, 2)), axis)


def deals(mask: Mask, place: Place, tokens: tuple[int, int], devices: int) -> bool:
    """Whether a ring of devices, each with so many queries and keys, deals tokens anew."""
    return max(tokens) >= visits.STEERED_FROM and zigzag.pays(mask, place, tokens, devices)


def _in_turns(
    rule: Rule, own: dict, query: Side, key: Side, value: Array, place: Place, pairs: Pairs, ring: tuple[str, int]
) -> Attended:
    """`attend` for tokens as they lie, over an axis, in so many chunks that follow one another."""
    run = functools.partial(_in_turns, ring=ring)
    query = engines.prepared(run, rule, own, query, key, value, place, pairs)
    data = tiled.given(own, query, key, value, place, pairs)
    where = (rule, place.heads, place.key_heads, ring)
    if rule.reads_visible():
        data["visible"] = _round(where, data, _count, jnp.zeros(_rows(data), jnp.int32))[0]
    static, smooth, rest = tiled.apart(where, data)
    out, stats = _attend(static, [reverse_only(leaf) for leaf in smooth], rest)
    found = Attended(out, Stats(*(x.T for x in stats), observed={}))
    return tiled.with_null(found, rule, own, query, place)


def gathered(tree: Any, axis: str) -> Any:
    """Arrays of tokens "n ..." with those of all devices, in order; everything else as it is."""
    return jax.tree.map(lambda x: lax.all_gather(x, axis, tiled=True) if jnp.ndim(x) else x, tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(static: tuple, smooth: list, rest: list) -> tuple:
    out, rows = _forward(static, smooth, rest)
    return out, rows[:4]


def _keep(static: tuple, smooth: list, rest: list):
    smooth, rest = ([leaf.value for leaf in side] for side in (smooth, rest))
    out, rows = jax.tree.map(forward_only, _forward(static, smooth, rest))
    return (out, rows[:4]), (smooth, rest, out, rows)


def _pull(static: tuple, kept: tuple, cotangents: tuple):
    smooth, rest, out, rows = kept
    read = [None if isinstance(x, SymbolicZero) else x for x in (cotangents[0], *cotangents[1][:3])]
    where, *_, precision = static
    data = tiled.together(static, smooth, rest)

    def step(found: dict, travelling: dict, here: dict, plans: tuple, column: Any) -> tuple[dict, dict]:
        more = tiled.chosen(lambda plan, data: backward.run(plan, data, (out, *rows), read), plans, here)
        travelling = {name: backward.plus(travelling[name], more[name]) for name in travelling}
        bias = found["bias"]
        if bias is not None:
            bias = add(bias, more["bias"], (0, 0, column))
        return {name: backward.plus(found[name], more[name]) for name in ("own", "query")} | {"bias": bias}, travelling

    with jax.default_matmul_precision(precision):
        found = {
            "own": backward.zeros(data["own"]),
            "query": (backward.zeros(data["query"].vector), backward.zeros(data["query"].extra)),
            "bias": backward.zeros(data["bias"]),
        }
        travelling = {
            "key": (backward.zeros(data["key"].vector), backward.zeros(data["key"].extra)),
            "value": backward.zeros(data["value"]),
        }
        found, travelling = _round(where, data, step, found, travelling)
    grads = zip(smooth, jax.tree.leaves(found | travelling), strict=True)
    return [forward_only(grad.astype(leaf.dtype)) for leaf, grad in grads], [None] * len(rest)


_attend.defvjp(_keep, _pull, symbolic_zeros=True)


def _forward(static: tuple, smooth: list, rest: list) -> tuple:
    """The output, and the rows of `forward.run` as if it had seen all keys."""
    where, *_, precision = static
    data = tiled.together(static, smooth, rest)
    normalizer, dtype = where[0].normalizer, wide(data["query"].vector.dtype)
    shared = normalizer.kind == "exponential"

    def step(carry: tuple, travelling: None, here: dict, plans: tuple, column: Any) -> tuple[tuple, None]:
        attended, mass, ties = carry
        out, (entropy, level, top, visible, _, more, tied) = tiled.chosen(
            functools.partial(forward.run, out_dtype=dtype), plans, here
        )
        other = Attended(out, Stats(*(x.T for x in (entropy, level, top, visible)), observed={}))
        both = join(attended, other, shared)
        top = both.stats.max_logit.T
        sides = (attended, ties), (other, tied)
        ties = sum(jnp.where(at_top(side.stats.max_logit.T, top), n, 0) for side, n in sides)
        return (both, mass + more, ties), None

    rows = jnp.zeros(_rows(data), dtype)
    empty = Stats(rows.T, rows.T - jnp.inf, rows.T - jnp.inf, rows.T.astype(jnp.int32), {})
    out = jnp.zeros((*rows.T.shape, data["value"].shape[2]), dtype)
    with jax.default_matmul_precision(precision):
        carry = (Attended(out, empty), rows, rows.astype(jnp.int32))
        (attended, mass, ties), _ = _round(where, data, step, carry)
    entropy, level, top, visible = (x.T for x in attended.stats[:4])
    has_mass = mass > 0
    z = jnp.where(has_mass, level, 0) if shared else rows
    mass = has_mass.astype(dtype) if shared else mass
    return attended.out.astype(data["value"].dtype), (entropy, level, top, visible, z, mass, ties)


def _count(found: Array, travelling: None, here: dict, plans: tuple, column: Any) -> tuple[Array, None]:
    return found + tiled.chosen(forward.count_visible, plans, here), None


def _round(where: tuple, data: dict, step: Callable, carry: Any, travelling: Any = None) -> tuple[Any, Any]:
    """`step(carry, travelling, data, plans, column)` for the keys of each device in turn, from this one's backward.

    `travelling` goes round with the keys, and is back after the last. `column` is where the keys begin among all.
    """
    rule, heads, key_heads, (axis, chunks) = where
    devices, me = lax.axis_size(axis), lax.axis_index(axis)
    count = data["key"].vector.shape[0]
    turn = [(n, (n + 1) % devices) for n in range(devices)]

    def one(number: Any, held: tuple) -> tuple:
        carry, travelling, key, value = held
        column = (me - number) % devices * count
        here = data | {"key": key, "value": value}
        here |= {name: _cut(data[name], column, count) for name in ("mask", "bias")}
        place = Place(data["place"][0], heads, key_heads, *data["place"][1:])
        pairs = Pairs(here["mask"], here["bias"], data["noise"])
        plans, live, few = visits.plans(rule, data["query"], key, value, place, pairs, chunks)
        here |= jax.tree.map(jnp.asarray, {"live": live, "few": few})
        carry, travelling = step(carry, travelling, here, plans, column)
        return carry, *jax.tree.map(lambda x: lax.ppermute(x, axis, turn), (travelling, key, value))

    begin = alike((carry, travelling, data["key"], data["value"]), data)
    return lax.fori_loop(0, devices, one, begin)[:2]


def _rows(data: dict) -> tuple[int, int]:
    return data["query"].vector.shape[1::-1]


def _cut(array: Array | None, column: Any, count: int) -> Array | None:
    """The columns of a mask or a bias that belong to the keys from `column` on."""
    return array if array is None or array.shape[-1] == 1 else cut(array, column, count, -1)
