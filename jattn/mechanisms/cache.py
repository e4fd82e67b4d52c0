"""The whole cache: every key and value that decoding has seen, with room for a length given at the start.

Source: Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019, arXiv:1911.02150, section 2.4
(incremental attention over stored keys and values).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.part import Dims, Side


class Cache(NamedTuple):
    """One example's keys, already turned, its values and what parts read beside them, for `length` tokens so far."""

    key: Float[Array, "s g d"]
    value: Float[Array, "s j e"]
    extra: dict
    position: Int[Array, " s"]
    segment: Int[Array, " s"]
    valid: Bool[Array, " s"]
    length: Int[Array, ""]


def start(dims: Dims, dtype: DTypeLike, extra: dict) -> Cache:
    """An empty cache for `dims.length` tokens; `extra` gives shapes and dtypes of per-token arrays "n #heads ..."."""
    room = dims.length
    if room is None or room < 1:
        raise ValueError(f"A cache needs room for at least 1 token, got length {room}; give Dims(..., length=...).")
    return Cache(
        jnp.zeros((room, dims.key_heads, dims.key_width), dtype),
        jnp.zeros((room, dims.value_heads, dims.value_width), dtype),
        jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape[1:]), leaf.dtype), extra),
        jnp.zeros(room, jnp.int32),
        jnp.zeros(room, jnp.int32),
        jnp.zeros(room, bool),
        jnp.zeros((), jnp.int32),
    )


def append(cache: Cache, key: Side, value: Float[Array, "n j e"]) -> Cache:
    """The cache with new tokens behind the ones it holds; `check_room` first where the length is known."""

    def put(held, new):
        return lax.dynamic_update_slice_in_dim(held, new.astype(held.dtype), cache.length, 0)

    new = key.vector.shape[0]
    segment = jnp.zeros(new, jnp.int32) if key.segment is None else key.segment
    valid = jnp.ones(new, bool) if key.valid is None else key.valid
    return Cache(
        put(cache.key, key.vector),
        put(cache.value, value),
        jax.tree.map(put, cache.extra, {name: key.extra[name] for name in cache.extra}),
        put(cache.position, jnp.asarray(key.position)),
        put(cache.segment, segment),
        put(cache.valid, valid),
        cache.length + new,
    )


def check_room(cache: Cache, new: int) -> None:
    """Refuses new tokens that have no row left, wherever the length is not traced; leading batch axes allowed."""
    room = cache.key.shape[-3]
    try:
        held = int(np.asarray(cache.length).max())
    except jax.errors.TracerArrayConversionError:
        held = 0
    if held + new > room:
        raise ValueError(
            f"A cache of {room} tokens takes no more than it has room for, got {new} new ones behind {held}; start it "
            f"with Dims(..., length={held + new}) or more."
        )


def view(cache: Cache, key: Side) -> Side:
    """All rows of the cache as a key side; rows that hold no token are not valid."""
    index = jnp.arange(cache.key.shape[0])
    return key._replace(
        vector=cache.key,
        position=cache.position,
        index=index,
        segment=None if key.segment is None else cache.segment,
        valid=cache.valid,
        length=cache.length,
        extra=cache.extra,
    )
