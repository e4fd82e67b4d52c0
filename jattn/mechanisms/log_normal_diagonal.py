"""Linear log-normal attention to all keys beside softmax attention to the nearest, in blocks along the diagonal.

Source: Nahshan, Kampeas, Haleva, "Linear Log-Normal Attention with Unbiased Concentration", ICLR 2024,
arXiv:2311.13541, LLN + Diag; the released code for the size of blocks and the three ways to mix both.
Departs: as in `jattn.features.LogNormal`; blocks are counted in positions, so that those of a packed text may begin
with each segment.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import Held, LinearAttention
from jattn.numerics import wide
from jattn.part import Attended, Dims, Place, Rng, of_heads, part
from jattn.parts.caches import Kept
from jattn.parts.caches.recent import Recent
from jattn.parts.features import Feature
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.positions import Position, Unturned

# what each of both counts at first, by mode
SHARES = {"average": (), "scale": ("linear", "diagonal"), "ratio": ("linear",)}
SHARE = 0.5


class Decoding(NamedTuple):
    """What decoding carries, of one size for any length: the state of the linear half, and the tokens of a block."""

    linear: Held
    near: Kept


@part
class LogNormalDiagonal(Mechanism):
    """Rows are a mean of both halves, or with `mixing` a learned one.

    "scale" learns a factor of each half for every head and feature of the values, "ratio" that of the linear half, the
    other being what is left of 1; all start at a half. `block` is the size of blocks in tokens, None that of the width
    of heads. Statistics are those of the linear half. `order` and `context_axis` are as in `LinearAttention`.
    """

    feature: Feature = LogNormal()
    block: int | None = None
    mixing: Literal["average", "scale", "ratio"] = "average"
    order: Literal["causal", "full"] = "causal"
    position: Position = Unturned()
    context_axis: str | None = None

    def __post_init__(self):
        if self.mixing not in SHARES:
            raise ValueError(
                f"LogNormalDiagonal.mixing must be one of {', '.join(SHARES)}, got {self.mixing!r}; leave it out for "
                f"the average."
            )
        if self.block is not None and self.block < 1:
            raise ValueError(
                f"LogNormalDiagonal.block must be at least 1 token, got {self.block}; leave it out for the width of "
                f"heads."
            )
        # refuses an unknown order
        self._linear()

    def params(self, rng: Array, dims: Dims) -> dict:
        return {name: jnp.full((dims.heads, dims.value_width), SHARE) for name in SHARES[self.mixing]}

    def looks_ahead(self, dims: Dims) -> str | None:
        return self._linear().looks_ahead(dims)

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Decoding:
        halves = self._linear(), self._diagonal(dims.key_width)
        return Decoding(*(half.state(dims, dtype, self._own(half, own), extra) for half in halves))

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Decoding | None) -> Attended:
        linear, diagonal = self._linear(), self._diagonal(split.query.shape[-1])
        held = Decoding(None, None) if state is None else state
        found = linear.apply(self._own(linear, own), split, layout, None, held.linear)
        near = diagonal.apply(self._own(diagonal, own), split, layout, None, held.near)
        numbers, *counts = layout.head or (np.arange(split.query.shape[1]), split.query.shape[1], split.key.shape[1])
        after = None if state is None else Decoding(found.state, near.state)
        out = self._mixed(own, found.out, near.out, Place(numbers, *counts))
        return found._replace(out=out, state=after)

    def weights(
        self, own: dict, split: Split, layout: Layout, rng: Rng | None, rows: Int[np.ndarray, " r"]
    ) -> Float[Array, "h r s"]:
        if self.mixing != "average":
            raise ValueError(
                f"Learned shares differ by feature of the values, so that rows have no weights, got "
                f"mixing={self.mixing!r}; ask for those of the average."
            )
        halves = self._linear(), self._diagonal(split.query.shape[-1])
        one, other = (half.weights(self._own(half, own), split, layout, None, rows) for half in halves)
        return SHARE * (one + other)

    def _mixed(
        self, own: dict, linear: Float[Array, "t h e"], diagonal: Float[Array, "t h e"], place: Place
    ) -> Float[Array, "t h e"]:
        dtype = linear.dtype
        one, other = (x.astype(wide(dtype)) for x in (linear, diagonal))
        shares = [of_heads(own, name, place).astype(one.dtype)[None] for name in SHARES[self.mixing]]
        if self.mixing == "average":
            mixed = SHARE * (one + other)
        elif self.mixing == "scale":
            mixed = shares[0] * one + shares[1] * other
        else:
            mixed = shares[0] * one + (1 - shares[0]) * other
        return mixed.astype(dtype)

    def _linear(self) -> LinearAttention:
        return LinearAttention(self.feature, order=self.order, position=self.position, context_axis=self.context_axis)

    def _diagonal(self, width: int) -> Attention:
        blocks = BlockDiagonal(self.block or width)
        mask = blocks if self.order == "full" else Causal() & blocks
        cache = Recent(blocks.size)
        return Attention(mask=mask, position=self.position, cache=cache, context_axis=self.context_axis)

    def _own(self, half: Mechanism, own: dict) -> Any:
        """The arrays of one half, those of the parts that it shares with this one."""
        made = half.own(None)
        return type(made)({name: own.get(name, entry) for name, entry in made.items()})
