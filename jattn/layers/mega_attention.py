"""Mega's layer with its arrays, its norm and its residual, to be put anywhere.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, figure 2.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.block import Block, Place
from jattn.layers.flow import Flow
from jattn.layers.heads.mega import Mega
from jattn.layers.multihead import MultiHead
from jattn.layers.norms import Kind
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.part import Attended, Rng
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.rotary_bias import RotaryBias


class MegaAttention(nnx.Module):
    """`jattn.mega_attention` that owns its arrays; `norm` stands before the layer, or after its sum with the stream."""

    def __init__(
        self,
        width: int,
        mega: Mega = Mega(),
        attention: Mechanism = Attention(RotaryBias(), Causal()),
        norm: Kind = "layer",
        place: Place = "before",
        *,
        rngs: nnx.Rngs,
    ):
        mixer = MultiHead(attention, mega, mega.dims(width, 1, None), rngs=rngs)
        self.block = Block(mixer, None, width, norm, place, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "*b t m"],
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        state: Any = None,
    ) -> Attended:
        """The stream after the layer, statistics "*b t 1", and the state that goes on, None where none was given."""
        y, flow, record = self.block(x, Flow(Layout() if layout is None else layout, rng=rng, state=state))
        return Attended(y, record.stats, flow.state)

    def state(self, batch: int, length: int, dtype: DTypeLike = jnp.float32) -> Any:
        """The empty decoding state, with leading axis b and room for `length` tokens."""
        return self.block.state(batch, length, dtype)
