"""The whole cache: every key and value that decoding has seen, with room for a length given at the start.

Source: Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019, arXiv:1911.02150, section 2.4
(incremental attention over stored keys and values).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jattn.part import Dims, Side, part
from jattn.parts.caches import Cache, Kept, LastKept, empty, new_rows, shown


@part
class Whole(Cache):
    """Room for `dims.length` tokens."""

    def start(self, dims: Dims, dtype: DTypeLike, extra: dict) -> Kept:
        room = dims.length
        if room is None or room < 1:
            raise ValueError(f"A cache needs room for at least 1 token, got length {room}; give Dims(..., length=...).")
        return empty(room, dims, dtype, extra)

    def append(self, kept: Kept, key: Side, value: Float[Array, "n j e"]) -> Kept:
        rows = new_rows(kept, key, value)
        held, new = kept._replace(length=None), rows._replace(length=None)
        put = jax.tree.map(lambda old, row: lax.dynamic_update_slice_in_dim(old, row, kept.length, 0), held, new)
        return put._replace(length=rows.length)

    def view(self, kept: Kept, key: Side) -> Side:
        return shown(kept, key, jnp.arange(kept.key.shape[0]))

    def check(self, kept: Kept, new: int) -> None:
        room = kept.key.shape[-3]
        if isinstance(kept, LastKept):
            raise ValueError(
                f"A decoding state goes on in a cache of its kind, got one of the last {room} tokens alone for "
                f"Whole(); start one by this model's state."
            )
        try:
            held = int(np.asarray(kept.length).max())
        except jax.errors.TracerArrayConversionError:
            held = 0
        if held + new > room:
            raise ValueError(
                f"A cache of {room} tokens takes no more than it has room for, got {new} new ones behind {held}; start "
                f"it with Dims(..., length={held + new}) or more."
            )

    def overflown(self, kept: Kept) -> Bool[Array, ""]:
        return kept.length > kept.key.shape[0]
