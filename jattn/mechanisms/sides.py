"""Two sides of one example from the data of a call: vectors turned by their positions, and which tokens are valid.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2 (queries and keys).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jattn.mechanisms import Layout, Split, checks
from jattn.part import Place, Side
from jattn.parts.positions import Position


def both(
    position: Position, own: dict, split: Split, layout: Layout, held: Any, axis: str | None
) -> tuple[Side, Side, Place]:
    """Queries and keys behind `held` earlier tokens, or this device's of an `axis`, and where their heads lie."""
    heads, key_heads = split.query.shape[1], split.key.shape[1]
    numbers, all_heads, all_key_heads = layout.head or (np.arange(heads), heads, key_heads)
    place = Place(numbers, all_heads, all_key_heads, layout.layer, split.example)
    extra = _pair(split.extra) if split.extra else _pair(layout.extra)
    first, valid = (held, held), _pair(layout.valid)
    if axis is not None:
        sizes = len(split.query), len(split.key)
        first = tuple(lax.axis_index(axis) * size for size in sizes)
        # a number counts the tokens of all devices
        valid = tuple(
            start + jnp.arange(size) < n if n is not None and not jnp.ndim(n) else n
            for start, size, n in zip(first, sizes, valid, strict=True)
        )
    found = [
        _side(vector, first[n], *(_pair(x)[n] for x in (layout.positions, layout.segments, valid)), extra[n])
        for n, vector in enumerate((split.query, split.key))
    ]
    found = [side._replace(vector=position.turn(own, side.vector, side, place)) for side in found]
    query, key = found if axis is None else [_of_all(side, axis) for side in found]
    return query, key, place


def emptied(side: Side) -> Side:
    """The side with zeros where it is not valid."""
    # a weight of 0 times a padded NaN is NaN, in the output and in gradients
    if side.valid is None:
        return side
    return side._replace(vector=jnp.where(side.valid[:, None, None], side.vector, 0))


def _of_all(side: Side, axis: str) -> Side:
    """A side of which this device has some tokens, with the number that all devices have."""
    if side.valid is None:
        return side._replace(length=side.vector.shape[0] * lax.axis_size(axis))
    return side._replace(length=lax.psum(side.valid.sum(), axis))


def _pair(data: Any) -> tuple:
    return data if isinstance(data, tuple) else (data, data)


def _side(vector: Array, held: Any, positions: Any, segments: Any, valid: Any, extra: dict) -> Side:
    new = vector.shape[0]
    # NumPy where it can be: what is known at trace time is decided at trace time
    slot = np.arange(new) if isinstance(held, int) else held + jnp.arange(new)
    length = held + new
    for name, array in (("Positions", positions), ("Segments", segments)):
        checks.row(name, array, new)
        checks.whole(name, array)
    if valid is not None:
        valid = jnp.asarray(valid)
        if not (jnp.issubdtype(valid.dtype, jnp.integer) or valid.dtype == bool):
            raise TypeError(
                f"What is valid is a length or a boolean row, got {valid.dtype}; compare it, as in weights > 0."
            )
        if valid.ndim:
            checks.row("Boolean rows of what is valid", valid, new)
        if valid.ndim == 0:
            length = held + jnp.clip(valid, 0, new)
            valid = jnp.arange(new) < valid
        else:
            length = held + valid.sum()
    return Side(vector, slot if positions is None else positions, slot, segments, valid, length, extra)
