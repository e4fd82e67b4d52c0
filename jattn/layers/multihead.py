"""Attention as a layer: owns the arrays of a mechanism and of the projections into heads, and batches them.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.2.
"""

import dataclasses

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers import through_heads
from jattn.layers.buffers import arrays, hold, renew
from jattn.layers.flow import Flow, Record
from jattn.layers.heads import Heads
from jattn.layers.through_heads import Given
from jattn.mechanisms import Mechanism
from jattn.part import Dims


class MultiHead(nnx.Module):
    """Self-attention, and cross-attention where `flow.memory` is given; computes in the dtype of its input."""

    def __init__(self, attention: Mechanism, projection: Heads, dims: Dims, *, rngs: nnx.Rngs):
        self.attention = attention
        self.projection = projection
        self.dims = dims
        self.projecting = hold(projection.init(rngs.params(), dims), projection.axes())
        self.attending = hold(attention.init(rngs.params(), dims))

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        return through_heads.apply(self.projection, self.attention, self._given(), self.dims, x, flow)

    def state(self, batch: int, length: int, dtype: DTypeLike):
        """The empty decoding state, with leading axis b and room for `length` tokens."""
        dims = dataclasses.replace(self.dims, length=length)
        return through_heads.start(self.projection, self.attention, self._given(), dims, (batch,), dtype)

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the buffers of the attention's parts from what they observed, and of the projection's from nothing."""
        keys = jax.random.split(rng)
        renew(self.attending, self.attention.refreshed(arrays(self.attending), observed, keys[0], step))
        renew(self.projecting, self.projection.refreshed(arrays(self.projecting), {}, keys[1], step))

    def _given(self) -> Given:
        return arrays(self.projecting), arrays(self.attending)
