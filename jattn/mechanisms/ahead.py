"""Whether rows see tokens behind their own, which a model that is to predict these must not.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.3 (leftward flow of
information would break the auto-regressive property).
"""

import jax
import numpy as np

from jattn.part import Dims, Place, Side, Span, Tile
from jattn.parts.masks import Mask

# how many rows are asked, evenly apart, each about every key
ROWS = 64


def sees_later(mask: Mask, dims: Dims) -> bool:
    """Whether a mask lets some row see a later token of a text of `dims.length` tokens."""
    keys = np.arange(dims.need("length", mask))
    rows = np.unique(np.linspace(0, len(keys) - 1, min(ROWS, len(keys))).astype(int))
    later = keys[None] > rows[:, None]
    heads = np.arange(dims.heads)
    query, key = (Span(at, at, len(keys)) for at in (rows[:, None], keys[None]))
    some, _ = mask.reach(query, key, Place(heads[:, None, None], dims.heads, dims.key_heads))
    if not (np.asarray(some) & later).any():
        return False
    # what it may reach is not yet what it sees
    query, key = (
        Side(np.zeros((dims.heads, len(at), dims.key_width)), at, at, None, None, len(keys), {}) for at in (rows, keys)
    )
    own = mask.own(mask.init(jax.random.key(0), dims))
    seen = mask.pairs(own, Tile(query, key, Place(heads, dims.heads, dims.key_heads)))
    return bool((np.asarray(seen) & later).any())
