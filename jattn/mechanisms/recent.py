"""The last few tokens and their keys and values: what decoding keeps where exact attention looks no farther back.

Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020, arXiv:2004.05150, section 3.1 (a
window of keys, so that memory does not grow with the length).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.mechanisms import Layout, Split
from jattn.part import Dims


class Recent(NamedTuple):
    """Tokens of one example, the newest last; keys are not turned yet, and those before the first are not valid."""

    key: Float[Array, "n g d"]
    value: Float[Array, "n j e"]
    position: Int[Array, " n"]
    segment: Int[Array, " n"]
    valid: Bool[Array, " n"]


def start(dims: Dims, dtype: DTypeLike, tokens: int) -> Recent:
    """No token, with room for so many."""
    return Recent(
        jnp.zeros((tokens, dims.key_heads, dims.key_width), dtype),
        jnp.zeros((tokens, dims.value_heads, dims.value_width), dtype),
        jnp.zeros(tokens, jnp.int32),
        jnp.zeros(tokens, jnp.int32),
        jnp.zeros(tokens, bool),
    )


def behind(kept: Recent, split: Split, layout: Layout, length: Int[Array, ""]) -> tuple[Recent, Split, Layout]:
    """New tokens behind the kept ones of `length` in all: what to keep now, and a call whose keys are all of these."""

    def pair(data: Any) -> tuple:
        return data if isinstance(data, tuple) else (data, data)

    def row(data: Any, tokens: int) -> Bool[Array, " n"]:
        if data is None:
            return jnp.ones(tokens, bool)
        return jnp.asarray(data) if jnp.ndim(data) else jnp.arange(tokens) < data

    sizes = len(split.query), len(split.key)
    positions = [
        length + jnp.arange(n) if given is None else jnp.asarray(given)
        for given, n in zip(pair(layout.positions), sizes, strict=True)
    ]
    asked, segment = pair(layout.segments)
    new = Recent(
        split.key,
        split.value,
        positions[1],
        jnp.zeros(sizes[1], jnp.int32) if segment is None else jnp.asarray(segment),
        row(pair(layout.valid)[1], sizes[1]),
    )
    both = Recent(*(jnp.concatenate([old, x.astype(old.dtype)]) for old, x in zip(kept, new, strict=True)))
    whole = layout._replace(
        positions=(positions[0], both.position),
        segments=None if segment is None else (jnp.asarray(asked), both.segment),
        valid=(row(pair(layout.valid)[0], sizes[0]), both.valid),
    )
    last = Recent(*(x[len(x) - len(old) :] for x, old in zip(both, kept, strict=True)))
    return last, split._replace(key=both.key, value=both.value), whole


def in_blocks(kept: Recent, split: Split, layout: Layout, length: Int[Array, ""]) -> tuple[Recent, Split, Layout]:
    """As `behind` where blocks of as many tokens as are kept are counted from the first of all: a call of whole blocks.

    It begins with the block that the new tokens go on with, in which the first of them is number `length` mod that
    many; queries of the tokens before them, and whatever comes behind them, are not valid.
    """
    block, new = len(kept.valid), len(split.key)
    filled = length % block
    last, split, layout = behind(kept, split, layout, length)
    size = -(-(block - 1 + new) // block) * block

    def keys(x: Array) -> Array:
        longer = jnp.pad(x, [(0, size), *[(0, 0)] * (x.ndim - 1)])
        return lax.dynamic_slice_in_dim(longer, block - filled, size)

    def queries(x: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(jnp.zeros((size, *x.shape[1:]), x.dtype), x, filled, 0)

    whole = split._replace(query=queries(split.query), key=keys(split.key), value=keys(split.value))
    rows = {
        name: (queries(pair[0]), keys(pair[1]))
        for name in ("positions", "segments", "valid")
        if (pair := getattr(layout, name)) is not None
    }
    return last, whole, layout._replace(**rows)
