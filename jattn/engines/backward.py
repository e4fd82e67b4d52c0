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
    cut,
    keys_of,
    logits_of,
    loop,
    over_keys,
    paste,
    pieces,
    seen_of,
    start_of,
    tile_of,
    values_of,
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

    def look(plan, i, j, group, row_tile):
        smooth, fixed = pieces(plan, data, i, j, group)
        at = group * plan.group, start_of(i, plan.rows, plan.length)
        row = {
            name: None if x is None else cut(cut(x, at[0], plan.group), at[1], plan.rows, 1)[..., None]
            for name, x in rows.items()
        }
        g = jnp.moveaxis(cut(cut(g_out, at[1], plan.rows), at[0], plan.group, 1), 1, 0)
        return smooth, fixed, row, g, seen_of(plan, smooth, fixed, row_tile, j)

    def dropped(pairs, plan, smooth, fixed):
        return drop(pairs, plan.rule.dropout, data["noise"], tile_of(plan, smooth, fixed))

    def weights_of(smooth, fixed, logits, z, seen):
        tile = engines.normalizer_tile(plan.rule, tile_of(plan, smooth, fixed))
        return normalizer.weights(smooth["own"]["normalizer"], logits, z, seen, tile).astype(dtype)

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

            def sweep(j, sums):
                smooth, fixed, row, g, seen = look(plan, i, j, group, None)
                g_weights = dropped(engines.products(g, values_of(plan, data, j, group)), plan, smooth, fixed)
                logits = logits_of(plan, smooth, fixed)
                weights, pull = jax.vjp(lambda z: weights_of(smooth, fixed, logits, z, seen), row["z"])
                g_weights = through_statistics(weights, g_weights, row)
                return sums[0] + pull(g_weights)[0][..., 0], sums[1] + pull(jnp.ones_like(weights))[0][..., 0]

            zero = jnp.zeros((plan.group, plan.rows), dtype)
            a, b = over_keys(plan, data, i, group, sweep, (zero, zero))
            return paste(constraint, -divide(a, b), (group * plan.group, start_of(i, plan.rows, plan.length)))

        rows["constraint"] = loop(row_tiles * groups, rows_of, jnp.zeros_like(z))

    slim = plan.slim()
    _, column_tiles, groups_of_columns = slim.counts()
    key_heads, value_heads = (slim.group * n // slim.heads for n in (slim.key_heads, slim.value_heads))

    def columns_of(x, whole):
        j, group = x // groups_of_columns, x % groups_of_columns
        head, column = group * slim.group, start_of(j, slim.columns, slim.keys)
        key = jnp.moveaxis(keys_of(slim, data, j, group), 1, 0)
        # turned once for all query tiles: products of rows with columns are twice as fast on CPU as rows with rows
        key_columns, value_columns = (jnp.swapaxes(x, 1, 2) for x in (key, values_of(slim, data, j, group)))

        def absorb(i, carry):
            whole, g_key, g_value = carry
            smooth, fixed, row, g, seen = look(slim, i, j, group, i)
            query = jnp.moveaxis(smooth["q"], 1, 0)
            g_weights = dropped(_pairs_of(g, value_columns, dtype), slim, smooth, fixed)

            def scored(raw, smooth):
                tile = tile_of(slim, smooth, fixed)
                return engines.scored(slim.rule, smooth["own"], tile, raw * slim.rule.scale, smooth["bias"])

            logits, pull_logits = jax.vjp(scored, _pairs_of(query, key_columns, dtype), smooth)
            weights, pull = jax.vjp(lambda smooth, s: weights_of(smooth, fixed, s, row["z"], seen), smooth, logits)
            g_weights = through_statistics(weights, g_weights, row)
            if row["constraint"] is not None:
                g_weights = g_weights + row["constraint"] * jnp.sign(weights)
            g_direct, g_logits = pull(g_weights)
            if g_top is not None:
                g_logits = g_logits + jnp.where(seen & (logits == row["top"]), row["g top"], 0)
            g_raw, g_smooth = pull_logits(g_logits)
            left = dropped(weights, slim, smooth, fixed)
            at = start_of(i, slim.rows, slim.length)
            whole = whole | {"q": add(whole["q"], _rows_of(g_raw, key, dtype), (at, head, 0))}
            g_key = g_key + _columns_of(g_raw, query, dtype, key_heads)
            g_value = g_value + _columns_of(left, g, dtype, value_heads)
            if slim.rule.score:
                # some scores read the vectors themselves
                whole["q"] = add(whole["q"], g_smooth["q"].astype(dtype), (at, head, 0))
                g_key = g_key + jnp.transpose(g_smooth["k"].astype(dtype), (1, 2, 0))
            for found in (g_smooth, g_direct):
                whole["own"] = _plus(whole["own"], found["own"])
                whole["query extra"] = _add_rows(whole["query extra"], found["query extra"], at)
                whole["key extra"] = _add_rows(whole["key extra"], found["key extra"], column)
            if data["bias"] is not None:
                starts = tuple(0 if n == 1 else s for n, s in zip(data["bias"].shape, (head, at, column), strict=True))
                whole["bias"] = add(whole["bias"], g_smooth["bias"].astype(dtype), starts)
            return whole, g_key, g_value

        # as columns: products that contract the rows of two tiles are then twice as fast on CPU
        g_key = jnp.zeros((key_heads, data["key"].vector.shape[2], slim.columns), dtype)
        g_value = jnp.zeros((value_heads, data["value"].shape[2], slim.columns), dtype)
        if data["live"] is None:
            whole, g_key, g_value = absorb(0, (whole, g_key, g_value))
        else:
            order, count = data["live"][1]
            whole, g_key, g_value = lax.fori_loop(
                0, count[group, j], lambda n, c: absorb(order[group, j, n], c), (whole, g_key, g_value)
            )
        return whole | {
            name: add(whole[name], jnp.transpose(g, (2, 0, 1)), (column, group * heads, 0))
            for name, g, heads in (("k", g_key, key_heads), ("v", g_value, value_heads))
        }

    def zeros(tree):
        return jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), wide(leaf.dtype)) if _smooth(leaf) else None, tree)

    query, key = data["query"], data["key"]
    start = {"own": zeros(data["own"]), "bias": zeros(data["bias"])}
    start |= {"q": zeros(query.vector), "k": zeros(key.vector), "v": zeros(data["value"])}
    start |= {"query extra": zeros(query.extra), "key extra": zeros(key.extra)}
    found = loop(column_tiles * groups_of_columns, columns_of, start)
    return {
        "own": found["own"],
        "query": (found["q"], found["query extra"]),
        "key": (found["k"], found["key extra"]),
        "value": found["v"],
        "bias": found["bias"],
    }


def _pairs_of(rows: Float[Array, "h t d"], columns: Float[Array, "g d s"], dtype) -> Float[Array, "h t s"]:
    folded = engines.folded(rows, columns.shape[0])
    found = jnp.einsum("gtd,gds->gts", folded, columns, preferred_element_type=dtype)
    return found.reshape(*rows.shape[:2], columns.shape[2])


def _rows_of(pairs: Float[Array, "h t s"], key: Float[Array, "g s d"], dtype) -> Float[Array, "t h d"]:
    folded = engines.folded(pairs.astype(key.dtype), key.shape[0])
    found = jnp.einsum("gts,gsd->gtd", folded, key, preferred_element_type=dtype)
    return jnp.moveaxis(found.reshape(*pairs.shape[:2], key.shape[2]), 1, 0)


def _columns_of(pairs: Float[Array, "h t s"], rows: Float[Array, "h t d"], dtype, heads: int) -> Float[Array, "g d s"]:
    pairs, rows = (engines.folded(x, heads) for x in (pairs.astype(rows.dtype), rows))
    return jnp.einsum("gtd,gts->gds", rows, pairs, preferred_element_type=dtype)


def _smooth(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _plus(whole: Any, more: Any) -> Any:
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
