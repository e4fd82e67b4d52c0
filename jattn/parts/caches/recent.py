"""The last few keys and values alone, of one size for any length, where a mask lets rows look no farther back.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 3.4 (chunks);
the released code, whose decoding drops what is kept wherever a chunk ends.
Departs: keeps as many tokens as a chunk has, and leaves it to the mask which of them a row sees, so that windows are
served too.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.part import Dims, Side, part
from jattn.parts.caches import Cache, Kept, LastKept, empty, new_rows, shown


@part
class Recent(Cache):
    """The last `size` tokens: those of a chunk of `BlockDiagonal(size)`, or of a window of as many, the row's own too.

    A mask that looks farther back is refused.
    """

    size: int = 64

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(
                f"Recent.size must be at least 1 token, got {self.size}; give the size of the mask's blocks."
            )

    def start(self, dims: Dims, dtype: DTypeLike, extra: dict) -> Kept:
        return LastKept(*empty(self.size, dims, dtype, extra))

    def append(self, kept: Kept, key: Side, value: Float[Array, "n j e"]) -> Kept:
        if not isinstance(kept, LastKept) or kept.key.shape[0] != self.size:
            which = "the last" if isinstance(kept, LastKept) else "all"
            raise ValueError(
                f"A decoding state goes on in a cache of its kind and size, got one of {which} {kept.key.shape[0]} "
                f"tokens for Recent({self.size}); start one by this model's state."
            )
        rows = new_rows(kept, key, value)
        held, new = kept._replace(length=None), rows._replace(length=None)
        return jax.tree.map(lambda old, row: jnp.concatenate([old, row]), held, new)._replace(length=rows.length)

    def view(self, kept: Kept, key: Side) -> Side:
        rows = kept.key.shape[0]
        return shown(kept, key, kept.length - rows + jnp.arange(rows))

    def settled(self, kept: Kept) -> Kept:
        last = jax.tree.map(lambda row: row[row.shape[0] - self.size :], kept._replace(length=None))
        return last._replace(length=kept.length)

    def looks_back(self) -> int:
        return self.size
