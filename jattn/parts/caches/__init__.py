"""The slot `caches`: which keys and values decoding keeps, and shows to the rows of new tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.part import Dims, Part, Side


class Kept(NamedTuple):
    """One example's keys, already turned, its values and what parts read beside them, for `length` tokens so far."""

    key: Float[Array, "s g d"]
    value: Float[Array, "s j e"]
    extra: dict
    position: Int[Array, " s"]
    segment: Int[Array, " s"]
    valid: Bool[Array, " s"]
    length: Int[Array, ""]


class LastKept(Kept):
    """The same for the last tokens alone, the newest last: what was kept in order of all is not read as these."""


class Cache(Part):
    """Keeps the keys and values of one example from call to call, all that rows see of what came before."""

    def start(self, dims: Dims, dtype: DTypeLike, extra: dict) -> Kept:
        """Nothing kept yet; `extra` gives shapes and dtypes of per-token arrays "n #heads ..."."""
        raise NotImplementedError

    def append(self, kept: Kept, key: Side, value: Float[Array, "n j e"]) -> Kept:
        """With new tokens behind the kept ones: what the rows of the new ones may see."""
        raise NotImplementedError

    def view(self, kept: Kept, key: Side) -> Side:
        """All that `append` gives as a key side, in order of `index`; rows that hold no token are not valid."""
        raise NotImplementedError

    def settled(self, kept: Kept) -> Kept:
        """What of it the next call needs."""
        return kept

    def looks_back(self) -> int | None:
        """From which distance on keys are gone; None where none are."""
        return None

    def check(self, kept: Kept, new: int) -> None:
        """Refuses new tokens that have no room, wherever the length is not traced; leading batch axes allowed."""
        return None

    def overflown(self, kept: Kept) -> Bool[Array, ""] | None:
        """Whether tokens had no room, which traced none can refuse; None where that cannot be."""
        return None


def empty(rows: int, dims: Dims, dtype: DTypeLike, extra: dict) -> Kept:
    """So many rows without a token."""
    return Kept(
        jnp.zeros((rows, dims.key_heads, dims.key_width), dtype),
        jnp.zeros((rows, dims.value_heads, dims.value_width), dtype),
        jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), extra),
        jnp.zeros(rows, jnp.int32),
        jnp.zeros(rows, jnp.int32),
        jnp.zeros(rows, bool),
        jnp.zeros((), jnp.int32),
    )


def new_rows(kept: Kept, key: Side, value: Float[Array, "n j e"]) -> Kept:
    """New tokens as rows of the dtypes of those kept, with the length that there is with them."""
    new = key.vector.shape[0]
    rows = type(kept)(
        key.vector,
        value,
        {name: key.extra[name] for name in kept.extra},
        jnp.asarray(key.position),
        jnp.zeros(new, jnp.int32) if key.segment is None else jnp.asarray(key.segment),
        jnp.ones(new, bool) if key.valid is None else key.valid,
        kept.length + new,
    )
    return jax.tree.map(lambda old, row: row.astype(old.dtype), kept, rows)


def shown(kept: Kept, key: Side, index: Int[Array, " s"]) -> Side:
    """Rows as a key side."""
    return key._replace(
        vector=kept.key,
        position=kept.position,
        index=index,
        segment=None if key.segment is None else kept.segment,
        valid=kept.valid,
        length=kept.length,
        extra=kept.extra,
    )
