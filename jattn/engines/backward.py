"""The backward pass of the tiled engine: gradients from row statistics, each tile computed again.

Source: Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135, appendix B.2; for thresholds the implicit function
theorem on the row's constraint, as in Martins, Astudillo, "From Softmax to Sparsemax", 2016, arXiv:1602.02068,
section 2.5.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn import engines
from jattn.engines.dropout import drop
from jattn.engines.tiles import (
    Plan,
    add,
    at_top,
    block_of,
    cut,
    keys_of,
    logits_of,
    loop,
    over_keys,
    over_tiles,
    paste,
    pieces,
    seen_of,
    start_of,
    tile_of,
    values_of,
    weigh,
)
from jattn.numerics import divide, log, wide


def run(plan: Plan, data: dict, kept: tuple, read: list) -> dict:
    """Gradients of `data`'s floating arrays, from row statistics; `read` holds the cotangents, None where unread."""
    out, entropy, log_normalizer, top, visible, z, mass, ties = kept
    row_tiles, _, groups = plan.counts()
    normalizer = plan.rule.normalizer
    dtype = wide(data["query"].vector.dtype)
    g_out, g_entropy, g_normalizer, g_top = read
    g_out = jnp.zeros_like(out) if g_out is None else g_out
    # a row without mass has no entropy and no log-normalizer to move, one that sees no key no largest logit
    g_entropy, g_normalizer = (None if g is None else jnp.where(mass > 0, g, 0) for g in (g_entropy, g_normalizer))
    g_top = None if g_top is None else jnp.where(visible > 0, divide(g_top, ties.astype(dtype)), 0)
    rows = {"z": z, "mass": mass, "entropy": entropy, "top": top, "g entropy": g_entropy, "g normalizer": g_normalizer}
    rows |= {"g top": g_top, "constraint": None}

    def look(plan, block, group):
        smooth, fixed = pieces(plan, data, block, group)
        head = group * plan.group
        row = {
            name: None if x is None else cut(cut(x, head, plan.group), block.row, block.rows, 1)[..., None]
            for name, x in rows.items()
        }
        g = jnp.moveaxis(cut(cut(g_out, block.row, block.rows), head, plan.group, 1), 1, 0)
        return smooth, fixed, row, g, seen_of(plan, smooth, fixed, block)

    def dropped(pairs, plan, smooth, fixed):
        return drop(pairs, plan.rule.dropout, data["noise"], tile_of(plan, smooth, fixed))

    def weights_of(plan, smooth, fixed, logits, z, seen):
        tile = engines.normalizer_tile(plan.rule, tile_of(plan, smooth, fixed))
        return engines.weights(normalizer, smooth["own"]["normalizer"], logits, z, seen, tile)

    def through_statistics(weights, g_weights, row):
        size, sign = jnp.abs(weights), jnp.sign(weights)
        if g_entropy is not None:
            mean = jnp.where(row["mass"] > 0, log(jnp.where(row["mass"] > 0, row["mass"], 1)), 0) - row["entropy"]
            apart = jnp.where(size > 0, mean - jnp.log(jnp.where(size > 0, size, 1)), 0)
            g_weights = g_weights + divide(row["g entropy"], row["mass"]) * apart * sign
        if normalizer.kind != "exponential" and g_normalizer is not None:
            g_weights = g_weights + divide(row["g normalizer"], row["mass"]) * sign
        return g_weights

    if normalizer.kind == "exponential":
        shared = jnp.einsum("the,the->ht", out, g_out, preferred_element_type=dtype)
        rows["constraint"] = (0 if g_normalizer is None else g_normalizer) - shared
    elif normalizer.kind == "threshold":

        def rows_of(x, constraint):
            i, group = x // groups, x % groups

            def sweep(block, sums):
                smooth, fixed, row, g, seen = look(plan, block, group)
                values = values_of(plan, data, block.column, block.columns, group)
                g_weights = dropped(engines.products(g, values), plan, smooth, fixed)
                logits = logits_of(plan, smooth, fixed)
                weights, pull = jax.vjp(lambda z: weights_of(plan, smooth, fixed, logits, z, seen), row["z"])
                g_weights = through_statistics(weights, g_weights, row)
                return sums[0] + pull(g_weights)[0][..., 0], sums[1] + pull(jnp.ones_like(weights))[0][..., 0]

            zero = jnp.zeros((plan.group, plan.rows), dtype)
            a, b = over_keys(plan, data, i, group, sweep, (zero, zero))
            return paste(constraint, -divide(a, b), (group * plan.group, start_of(i, plan.rows, plan.length)))

        rows["constraint"] = loop(data, row_tiles * groups, rows_of, jnp.zeros_like(z))

    slim = plan.slim()
    _, column_tiles, groups_of_columns = slim.counts()

    def absorb(block, group, key, value, own, rows_here, columns_here):
        smooth, fixed, row, g, seen = look(slim, block, group)
        query = jnp.moveaxis(smooth["q"], 1, 0)
        of_rows, of_pairs = engines.scales(slim.rule.scale, query.dtype)
        query = query * of_rows
        columns = slice(block.step.column, block.step.column + block.columns)
        g_weights = dropped(_pairs_of(g, value[..., columns], dtype), slim, smooth, fixed)

        def scored(raw, smooth):
            tile = tile_of(slim, smooth, fixed)
            return engines.scored(slim.rule, smooth["own"], tile, raw * of_pairs, smooth["bias"])

        logits, pull_logits = jax.vjp(scored, _pairs_of(query, key[..., columns], dtype), smooth)
        weights, pull = jax.vjp(lambda smooth, s: weights_of(slim, smooth, fixed, s, row["z"], seen), smooth, logits)
        g_weights = through_statistics(weights, g_weights, row)
        if row["constraint"] is not None:
            g_weights = g_weights + row["constraint"] * jnp.sign(weights)
        g_direct, g_logits = pull(g_weights)
        if g_top is not None:
            g_logits = g_logits + jnp.where(seen & at_top(logits, row["top"]), row["g top"], 0)
        g_raw, g_smooth = pull_logits(g_logits)
        g_query = jnp.moveaxis(weigh(g_raw, jnp.swapaxes(key[..., columns], 1, 2)), 1, 0) * of_rows
        g_key = _columns_of(g_raw, query, dtype, key.shape[0])
        g_value = _columns_of(dropped(weights, slim, smooth, fixed), g, dtype, value.shape[0])
        if slim.rule.score:
            # some scores read the vectors themselves
            g_query = g_query + g_smooth["q"].astype(dtype)
            g_key = g_key + jnp.transpose(g_smooth["k"].astype(dtype), (1, 2, 0))
        rows_here = rows_here | {"q": _add_rows(rows_here["q"], g_query, block.step.row)}
        columns_here = columns_here | {
            name: columns_here[name].at[..., columns].add(found) for name, found in (("k", g_key), ("v", g_value))
        }
        for found in (g_smooth, g_direct):
            own = plus(own, found["own"])
            rows_here["extra"] = _add_rows(rows_here["extra"], found["query extra"], block.step.row)
            columns_here["extra"] = _add_rows(columns_here["extra"], found["key extra"], block.step.column)
        if data["bias"] is not None:
            at = tuple(
                slice(None) if whole == 1 else slice(start, start + size)
                for whole, start, size in zip(data["bias"].shape[1:], block.step[::2], block.step[1::2], strict=True)
            )
            rows_here["bias"] = rows_here["bias"].at[:, *at].add(g_smooth["bias"].astype(dtype))
        return own, rows_here, columns_here

    def columns_of(x, carry):
        whole, whole_columns = carry
        j, group = x // groups_of_columns, x % groups_of_columns
        head, column = group * slim.group, start_of(j, slim.columns, slim.keys)
        # turned once for all query tiles: products of rows with columns are twice as fast on CPU as rows with rows
        key, value = (
            jnp.swapaxes(held(slim, data, column, slim.columns, group), 1, 2) for held in (keys_of, values_of)
        )

        def visit(i, kind, carry):
            whole, columns_here = carry
            at = start_of(i, slim.rows, slim.length)
            # of this tile alone, added to the whole once: XLA copies the whole for each step that adds to it
            rows_here = {
                "q": jnp.zeros((slim.rows, slim.group, data["query"].vector.shape[2]), dtype),
                "extra": zeros(data["query"].extra, slim.rows),
            }
            if data["bias"] is not None:
                sizes = zip(data["bias"].shape, (slim.group, slim.rows, slim.columns), strict=True)
                rows_here["bias"] = jnp.zeros([1 if n == 1 else size for n, size in sizes], dtype)
            own = whole["own"]
            for step in kind.steps:
                block = block_of(slim, i, j, step, kind.whole)
                own, rows_here, columns_here = absorb(block, group, key, value, own, rows_here, columns_here)
            whole = whole | {
                "own": own,
                "q": add(whole["q"], rows_here["q"], (at, head, 0)),
                "query extra": _add_rows(whole["query extra"], rows_here["extra"], at),
            }
            if data["bias"] is not None:
                starts = zip(data["bias"].shape, (head, at, column), strict=True)
                starts = tuple(0 if n == 1 else start for n, start in starts)
                whole["bias"] = add(whole["bias"], rows_here["bias"], starts)
            return whole, columns_here

        # as columns: products that contract the rows of two tiles are then twice as fast on CPU
        columns_here = {
            "k": jnp.zeros((key.shape[0], data["key"].vector.shape[2], slim.columns), dtype),
            "v": jnp.zeros((value.shape[0], data["value"].shape[2], slim.columns), dtype),
            "extra": zeros(data["key"].extra, slim.columns),
        }
        listed = None if data["live"] is None else data["live"][1]
        whole, columns_here = over_tiles(data, slim.kinds, listed, (group, j), visit, (whole, columns_here))
        return whole, {
            "k": add(
                whole_columns["k"], jnp.transpose(columns_here["k"], (2, 0, 1)), (column, group * key.shape[0], 0)
            ),
            "v": add(
                whole_columns["v"], jnp.transpose(columns_here["v"], (2, 0, 1)), (column, group * value.shape[0], 0)
            ),
            "extra": _add_rows(whole_columns["extra"], columns_here["extra"], column),
        }

    query, key, value = data["query"], data["key"], data["value"]
    # three zeros that XLA takes for different ones: filled from one array, each would first be a copy
    apart = lax.optimization_barrier((jnp.zeros((), dtype),) * 3)
    g_query, g_key, g_value = (
        jnp.broadcast_to(zero, x.shape) for zero, x in zip(apart, (query.vector, key.vector, value), strict=True)
    )
    whole = {"own": zeros(data["own"]), "bias": zeros(data["bias"]), "q": g_query, "query extra": zeros(query.extra)}
    # apart from what the inner loop carries: XLA would copy them there for each tile
    columns = {"k": g_key, "v": g_value, "extra": zeros(key.extra)}
    whole, columns = loop(data, column_tiles * groups_of_columns, columns_of, (whole, columns))
    return {
        "own": whole["own"],
        "query": (whole["q"], whole["query extra"]),
        "key": (columns["k"], columns["extra"]),
        "value": columns["v"],
        "bias": whole["bias"],
    }


def zeros(tree: Any, rows: int | None = None) -> Any:
    """Zeros like the floating arrays of a tree, or like so many of their rows; None for the others."""

    def zero(leaf):
        shape = leaf.shape if rows is None else (rows, *leaf.shape[1:])
        return jnp.zeros(shape, wide(leaf.dtype)) if _smooth(leaf) else None

    return jax.tree.map(zero, tree)


def _pairs_of(rows: Float[Array, "h t d"], columns: Float[Array, "g d s"], dtype) -> Float[Array, "h t s"]:
    folded = engines.folded(rows, columns.shape[0])
    found = jnp.einsum("gtd,gds->gts", folded, columns, preferred_element_type=dtype)
    return found.reshape(*rows.shape[:2], columns.shape[2])


def _columns_of(pairs: Float[Array, "h t s"], rows: Float[Array, "h t d"], dtype, heads: int) -> Float[Array, "g d s"]:
    pairs, rows = (engines.folded(x, heads) for x in (pairs.astype(rows.dtype), rows))
    return jnp.einsum("gtd,gts->gds", rows, pairs, preferred_element_type=dtype)


def _smooth(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def plus(whole: Any, more: Any) -> Any:
    """The sums of two trees, in the dtypes of the first; None where that has None."""
    return jax.tree.map(
        lambda a, b: None if a is None else a + b.astype(a.dtype), whole, more, is_leaf=lambda leaf: leaf is None
    )


def _add_rows(whole: Any, more: Any, start) -> Any:
    return jax.tree.map(
        lambda a, b: None if a is None else add(a, b.astype(a.dtype), (start, *(0,) * (a.ndim - 1))),
        whole,
        more,
        is_leaf=lambda leaf: leaf is None,
    )
