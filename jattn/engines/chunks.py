"""Chunks of both sides for engines that carry what keys amount to, and which keys the rows of a chunk see."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jattn.part import Attended, Side, Stats


class Seen(NamedTuple):
    """What rows see: pairs of one chunk, what is carried to it, and which keys it carries on; of all heads."""

    pairs: Bool[Array, "c s"]
    before: Bool[Array, " c"]
    after: Bool[Array, " s"]


def even(query: Side, key: Side, value: Array, size: int) -> tuple[Side, Side, Array]:
    """Both sides as long as the longer one and a multiple of `size`; what is added is not valid."""
    tokens = max(len(query.vector), len(key.vector), 1)
    tokens = -(-tokens // size) * size

    def longer(x, mode="constant"):
        x = jnp.asarray(x)
        return jnp.pad(x, [(0, tokens - len(x)), *[(0, 0)] * (x.ndim - 1)], mode) if len(x) < tokens else x

    def side(given):
        valid = jnp.ones(len(given.vector), bool) if given.valid is None else given.valid
        length = jnp.broadcast_to(given.length, len(given.vector))
        found = jax.tree.map(longer, given._replace(segment=None, valid=valid, length=length))
        if given.segment is None:
            return found
        # what is added begins no segment
        return found._replace(segment=longer(given.segment, "edge" if len(valid) else "constant"))

    return side(query), side(key), longer(value)


def cut(query: Side, key: Side, value: Array, size: int) -> tuple[Side, Side, Array]:
    """Both sides chunk by chunk, each array "chunks c ..."."""
    return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), even(query, key, value, size))


def begins(segment: Int[Array, " c"], before: Int[Array, ""]) -> Bool[Array, " c"]:
    """Where a token is the first of its segment."""
    return segment != jnp.concatenate([before[None], segment[:-1]])


def reach(segment: Int[Array, ""], key: Side) -> Seen:
    """What the rows of a chunk behind a token of that segment see, each the keys up to its own."""
    pairs = jnp.tril(jnp.broadcast_to(key.valid, (len(key.valid),) * 2))
    if key.segment is None:
        return Seen(pairs, jnp.ones_like(key.valid), key.valid)
    run = jnp.cumsum(begins(key.segment, segment))
    return Seen(pairs & (run[:, None] == run[None, :]), run == 0, key.valid & (run == run[-1]))


def visible(before: Int[Array, ""], seen: Seen) -> Int[Array, " c"]:
    """How many keys each row sees, where so many were carried to its chunk."""
    return seen.pairs.sum(-1) + jnp.where(seen.before, before, 0)


def left(before: Int[Array, ""], segment: Int[Array, ""], seen: Seen, key: Side) -> tuple[Array, Array]:
    """How many keys a chunk carries on, and the segment of its last token."""
    count = jnp.where(seen.before[-1], before, 0) + seen.after.sum()
    return count.astype(before.dtype), segment if key.segment is None else key.segment[-1].astype(segment.dtype)


def recomputed(step: Callable) -> Callable:
    """The step of a loop over chunks, of which the backward pass keeps what was carried and computes all else again."""
    # tied together: what nothing differentiated reaches, as what rows see, would be made for all chunks first, and kept
    return jax.checkpoint(lambda state, cut: step(*lax.optimization_barrier((state, cut))))


def by_token(out: Float[Array, "g *r c e"]) -> Float[Array, "c h e"]:
    """Rows of groups of heads as rows of heads."""
    return jnp.moveaxis(out, -2, 0).reshape(out.shape[-2], -1, out.shape[-1])


def attended(out: Float[Array, "n c h e"], visible: Int[Array, "..."], query: Side, value: Array) -> Attended:
    """The rows of all chunks as one result, without what was added, and 0 where a query is not valid."""
    rows = len(query.vector)
    out, visible = out.reshape(-1, *out.shape[2:])[:rows], visible.reshape(-1)[:rows]
    if query.valid is not None:
        out, visible = jnp.where(query.valid[:, None, None], out, 0), jnp.where(query.valid, visible, 0)
    counted = jnp.broadcast_to(visible.astype(jnp.int32)[:, None], out.shape[:2])
    return Attended(out.astype(value.dtype), Stats(None, None, None, counted, {}))
