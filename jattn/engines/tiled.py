"""Exact attention a tile at a time: memory linear in the length, forward and backward, statistics in the same pass.

Source: Rabe, Staats, "Self-attention Does Not Need O(n^2) Memory", 2021, arXiv:2112.05682, sections 2 to 5; Dao et
al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135, appendix B.2 (backward from row statistics).
Departs: the backward recomputes tiles from the row statistic of any normalizer, not of softmax alone, and takes
cotangents of log-normalizer, entropy and largest logit.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jattn import engines
from jattn.engines import Pairs, Rule, backward, forward, visits
from jattn.engines.derivatives import forward_only, reverse_only
from jattn.engines.merge import add_mass
from jattn.engines.tiles import Plan
from jattn.numerics import wide
from jattn.part import Attended, Place, Side, Stats, Tile


def attend(rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place, pairs: Pairs):
    """Attention of one example, exact for every score, mask and normalizer of the slots.

    Sides hold `vector` as "n h d". Returns `Attended` with statistics "t h". Real gradients for every floating array,
    and forward mode over them; other derivatives are `dense.attend`'s. Raises ValueError where heads do not divide.
    """
    length, heads = query.vector.shape[:2]
    if 0 in (length, key.vector.shape[0]):
        return _empty(rule, value, length, heads)
    query = engines.prepared(attend, rule, own, query, key, value, place, pairs)
    plans, live, few = visits.plans(rule, query, key, value, place, pairs)
    data = given(own, query, key, value, place, pairs) | jax.tree.map(jnp.asarray, {"live": live, "few": few})
    if rule.reads_visible():
        data["visible"] = chosen(forward.count_visible, plans, data)
    out, stats = _compiled(*apart(plans, data))
    return with_null(Attended(out, Stats(*(x.T for x in stats), observed={})), rule, own, query, place)


def given(own: dict, query: Side, key: Side, value: Array, place: Place, pairs: Pairs) -> dict[str, Any]:
    """The data of a call by the names that the passes read them under."""
    data = {
        "own": own,
        "query": query,
        "key": key,
        "value": value,
        "place": (place.head, place.layer, place.example),
        "mask": pairs.mask,
        "bias": pairs.bias,
        "noise": pairs.noise,
        "visible": None,
    }
    return jax.tree.map(jnp.asarray, data)


def apart(known: Any, data: dict) -> tuple[tuple, list, list]:
    """What is known at trace time and how to put the data together again, their floating arrays, and the others."""
    leaves, tree = jax.tree.flatten(data)
    floating = tuple(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves)
    smooth = [leaf for leaf, is_float in zip(leaves, floating, strict=True) if is_float]
    rest = [leaf for leaf, is_float in zip(leaves, floating, strict=True) if not is_float]
    # the backward pass is traced later, when the caller's `with jax.default_matmul_precision` may have ended
    return (known, tree, floating, jax.config.jax_default_matmul_precision), smooth, rest


def with_null(attended: Attended, rule: Rule, own: dict, query: Side, place: Place) -> Attended:
    """With the one more key of every row, if the normalizer has one."""
    if rule.normalizer.kind != "exponential":
        return attended
    heads = query.vector.shape[1]
    side = engines.in_tile(query, 0, heads, heads)
    tile = engines.normalizer_tile(rule, Tile(side, None, place))
    null = engines.null(rule.normalizer, own["normalizer"], tile, attended.out.shape[-1])
    if null is None:
        return attended
    level, numerator = null
    return add_mass(attended, None if numerator is None else numerator[None], level.T)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(static: tuple, smooth: list, rest: list) -> tuple:
    out, rows = chosen(forward.run, static[0], together(static, smooth, rest))
    return out, rows[:4]


def _keep(static: tuple, smooth: list, rest: list):
    smooth, rest = ([leaf.value for leaf in side] for side in (smooth, rest))
    found = chosen(forward.run, static[0], together(static, smooth, rest))
    out, rows = jax.tree.map(forward_only, found)
    return (out, rows[:4]), (smooth, rest, out, rows)


def _pull(static: tuple, kept: tuple, cotangents: tuple):
    smooth, rest, out, rows = kept
    read = [None if isinstance(x, SymbolicZero) else x for x in (cotangents[0], *cotangents[1][:3])]
    plans, *_, precision = static
    with jax.default_matmul_precision(precision):
        found = chosen(
            lambda plan, data: backward.run(plan, data, (out, *rows), read), plans, together(static, smooth, rest)
        )
    grads = zip(smooth, jax.tree.leaves(found), strict=True)
    return [forward_only(grad.astype(leaf.dtype)) for leaf, grad in grads], [None] * len(rest)


_attend.defvjp(_keep, _pull, symbolic_zeros=True)


# compiled, so that a call outside of jit finds its loops again
@functools.partial(jax.jit, static_argnums=0)
def _compiled(static: tuple, smooth: list, rest: list) -> tuple:
    return _attend(static, [reverse_only(leaf) for leaf in smooth], rest)


def chosen(run: Callable[[Plan, dict], Any], plans: tuple[Plan, ...], data: dict) -> Any:
    """What `run` gives for the plan that pays, where data say which."""
    ways = [functools.partial(run, plan, data | {"live": live}) for plan, live in zip(plans, data["live"], strict=True)]
    return ways[0]() if len(ways) == 1 else lax.cond(data["few"], *reversed(ways))


def together(static: tuple, smooth: list, rest: list) -> dict[str, Any]:
    """The data of a call from its floating arrays and the others."""
    _, tree, floating, _ = static
    smooth, rest = iter(smooth), iter(rest)
    return jax.tree.unflatten(tree, [next(smooth) if is_float else next(rest) for is_float in floating])


def _empty(rule: Rule, value: Array, length: int, heads: int) -> Attended:
    zero = jnp.zeros((length, heads), wide(value.dtype))
    stats = Stats(zero, zero - jnp.inf, zero - jnp.inf, jnp.zeros((length, heads), np.int32), {})
    return Attended(jnp.zeros((length, heads, value.shape[2]), value.dtype), stats)
