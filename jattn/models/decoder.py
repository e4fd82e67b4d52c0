"""A decoder-only transformer: embedding, a stack of residual blocks, a norm and a head.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
Departs: RMS norms with gains, squared ReLU and rotary positions by default, no biases, and zeros at the start in
whatever writes to the residual stream and in the head.
"""

import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.adaptive_embedding import AdaptiveEmbedding, check_bands
from jattn.layers.axes import Axes, constrained
from jattn.layers.embeddings import Embedding, Head
from jattn.layers.flow import Flow, Record
from jattn.layers.stack import Remat, Stack
from jattn.layers.tied_embedding import TiedEmbedding
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.models import Model, network
from jattn.models.network import Network
from jattn.part import Rng, part
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary


@part
class DecoderConfig(Model):
    """The options of a decoder, which reads and predicts a `vocabulary` of tokens.

    An embedding is apart from the head, or one table for both, or adaptive: one table for both whose rare tokens, from
    each of the `cutoffs` on, have vectors `factor` times narrower than those before, and whose logits are
    log-probabilities. What is looked up in one that is not apart is multiplied by `embedding_scale`, by default the
    root of the width.
    """

    attention: Mechanism = Attention(mask=Causal(), position=Rotary())
    vocabulary: int = 256
    embedding: Literal["apart", "tied", "adaptive"] = "apart"
    embedding_scale: float | None = None
    cutoffs: tuple[int, ...] = (20_000, 60_000)
    factor: int = 4

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "vocabulary")
        self.one_of("embedding", ("apart", "tied", "adaptive"))
        if self.embedding == "adaptive":
            check_bands("DecoderConfig", self.vocabulary, self.width, self.cutoffs, self.factor)
        scale = self.embedding_scale
        if scale is not None and (self.embedding == "apart" or not 0 < scale < math.inf):
            raise ValueError(
                f"DecoderConfig.embedding_scale must be a finite number above 0, of an embedding that is tied or "
                f"adaptive, got {scale!r} for one that is {self.embedding}; 1 leaves vectors as they are."
            )
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
        self.embedding = _embedding(config, rngs)
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        self.head = Head(config.width, config.vocabulary) if config.embedding == "apart" else None
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
        rng = network.for_batch(rng, len(tokens))
        x = network.embedded(self.config, self.embedding(tokens, self.dtype, axes), rng)
        x = constrained(axes, x, "batch", "time", None)
        x, flow, records = self.stack(x, Flow(layout or Layout(), state=state, rng=rng, axes=axes))
        record = self.noted(network.joined(records), rng, {"norm": x})
        x = self.norm(x, rng)
        logits = self.embedding.logits(x) if self.head is None else self.head(x)
        return Decoded(logits, record, flow.state)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)

    def state(self, batch: int, length: int) -> Any:
        """An empty decoding state with room for `length` tokens, placed as the blocks are."""
        return self.stack.state(batch, length, self.dtype)


def _embedding(config: DecoderConfig, rngs: nnx.Rngs) -> Embedding | TiedEmbedding | AdaptiveEmbedding:
    sizes = config.vocabulary, config.width
    if config.embedding == "apart":
        return Embedding(*sizes, rngs=rngs)
    if config.embedding == "tied":
        return TiedEmbedding(*sizes, config.embedding_scale, rngs=rngs)
    return AdaptiveEmbedding(*sizes, config.cutoffs, config.factor, config.embedding_scale, rngs=rngs)
