"""Some rows at a time, for what needs a row's weights at once: memory grows with the keys, not with all pairs.

Source: Rabe, Staats, "Self-attention Does Not Need O(n^2) Memory", 2021, arXiv:2112.05682, section 3 (queries by
blocks, computed again in the backward pass).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jattn.part import Side

# of a block; its pairs are held at once, of all heads
ROWS = 64


def over_rows(f: Callable[[Side], Any], query: Side, rows: int = ROWS) -> Any:
    """What `f` gives of all queries, whose axis comes first, by blocks of `rows` of them; `query.vector` is "t h d".

    `f` is given a side that holds some of the queries, and `length` as it was. The backward pass computes each block
    again.
    """
    tokens = len(query.vector)

    def some(numbers):
        # a number of tokens is no row
        taken = jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], query._replace(length=None))
        return f(taken._replace(length=query.length))

    if tokens <= rows:
        return some(jnp.arange(tokens))
    # the last row fills the last block, and what it gives there is dropped
    blocks = jnp.minimum(jnp.arange(-(-tokens // rows) * rows), tokens - 1).reshape(-1, rows)
    found = lax.map(jax.checkpoint(some), blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:tokens], found)
