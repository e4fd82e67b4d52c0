"""A decoder-only transformer: embedding, a stack of residual blocks, a norm and a head.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
Departs: RMS norms with gains, squared ReLU and rotary positions by default, no biases, and zeros at the start in
whatever writes to the residual stream and in the head.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import Axes, constrained
from jattn.layers.embeddings import Embedding, Head
from jattn.layers.flow import Flow, Record
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.models import Model, network
from jattn.models.network import Network
from jattn.part import Rng, part
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary


@part
class DecoderConfig(Model):
    """The options of a decoder, which reads and predicts a `vocabulary` of tokens."""

    attention: Mechanism = Attention(mask=Causal(), position=Rotary())
    vocabulary: int = 256

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "vocabulary")
        if getattr(self.attention, "order", "causal") == "full":
            raise ValueError(
                "A decoder predicts what its rows may not see, got an attention of order 'full'; leave the order out."
            )

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "Decoder":
        return Decoder(self, rngs=rngs, dtype=dtype, remat=remat)


class Decoded(NamedTuple):
    """Logits of the next token, what the blocks report (statistics stacked "l b t h"), and the decoding state."""

    logits: Float[Array, "b t v"]
    record: Record
    state: Any


class Decoder(Network):
    """Computes in `dtype`."""

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        remat: Remat = "none",
        layers_at_once: int | None = None,
    ):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.embedding = Embedding(config.vocabulary, config.width, rngs=rngs)
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        self.head = Head(config.width, config.vocabulary)
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        *,
        layout: Layout | None = None,
        state: Any = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Decoded:
        """With `state` the tokens are new ones behind those it holds."""
        if self.kernels is not None:
            return self.folded()(tokens, layout=layout, state=state, rng=rng, axes=axes)
        x = constrained(axes, self.embedding(tokens, self.dtype, axes), "batch", "time", None)
        flow = Flow(layout or Layout(), state=state, rng=network.for_batch(rng, len(tokens)), axes=axes)
        x, flow, records = self.stack(x, flow)
        record = self.noted(network.joined(records), rng, {"norm": x})
        return Decoded(self.head(self.norm(x, rng)), record, flow.state)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)

    def state(self, batch: int, length: int) -> Any:
        """An empty decoding state with room for `length` tokens, placed as the blocks are."""
        return self.stack.state(batch, length, self.dtype)
