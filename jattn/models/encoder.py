"""An encoder: every token sees every other one, and the logits are of the tokens themselves or of the whole.

Source: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019, arXiv:1810.04805, section 3.
Departs: the blocks are those of the decoder (norms before each half, no biases), and positions rotary by default; what
is pooled goes to the head as it is.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.layers.added_positions import KINDS, AddedPositions
from jattn.layers.axes import Axes, constrained
from jattn.layers.embeddings import Embedding, Head
from jattn.layers.flow import Flow, Record
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.models import Model, network
from jattn.models.network import Network
from jattn.numerics import divide
from jattn.part import Rng, part
from jattn.parts.positions.rotary import Rotary


def pooled(
    x: Float[Array, "b t m"], valid: Bool[Array, "b t"] | None, pool: Literal["mean", "first"]
) -> Float[Array, "b m"]:
    """The mean of the tokens that are valid, 0 where none is, or the first token."""
    if pool == "first":
        return x[:, 0]
    weight = jnp.ones(x.shape[:2]) if valid is None else valid.astype(jnp.float32)
    total = jnp.einsum("btm,bt->bm", x, weight, preferred_element_type=jnp.float32)
    return divide(total, weight.sum(1)[:, None]).astype(x.dtype)


def rows(valid: Array | None, tokens: int) -> Bool[Array, "b t"] | None:
    """Lengths or boolean rows as boolean rows."""
    if valid is None or jnp.asarray(valid).dtype == bool:
        return valid
    return jnp.arange(tokens)[None] < jnp.asarray(valid)[:, None]


@part
class EncoderConfig(Model):
    """With `classes` logits are of each example, whose tokens are pooled; without, of the vocabulary for each token.

    The `vocabulary` holds all bytes and one token more, which stands for those that are hidden. `length` is how many
    learned positions there are.
    """

    attention: Attention = Attention(position=Rotary())
    positions: Literal["none", "learned", "sin_cos"] = "none"
    length: int = 512
    vocabulary: int = 257
    classes: int | None = None
    pool: Literal["mean", "first"] = "mean"

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "length", "vocabulary", *([] if self.classes is None else ["classes"]))
        self.one_of("positions", KINDS)
        self.one_of("pool", ("mean", "first"))

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "Encoder":
        return Encoder(self, rngs=rngs, dtype=dtype, remat=remat)


class Encoded(NamedTuple):
    """Logits of each token or of each example, what the blocks report, and the features that the head read."""

    logits: Float[Array, "b *t v"]
    record: Record
    features: Float[Array, "b *t m"]


class Encoder(Network):
    """Computes in `dtype`; what `layout.valid` leaves out changes nothing."""

    def __init__(
        self,
        config: EncoderConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        remat: Remat = "none",
        layers_at_once: int | None = None,
    ):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.embedding = Embedding(config.vocabulary, config.width, rngs=rngs)
        self.positions = AddedPositions(config.positions, config.length, config.width, rngs=rngs)
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        self.head = Head(config.width, config.vocabulary) if config.classes is None else Head(
            config.width, config.classes, None
        )  # fmt: skip
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Encoded:
        if self.kernels is not None:
            return self.folded()(tokens, layout=layout, rng=rng, axes=axes)
        layout = layout or Layout()
        x = self.positions(self.embedding(tokens, self.dtype, axes), layout.positions)
        x = constrained(axes, x, "batch", "time", None)
        flow = Flow(layout, rng=network.for_batch(rng, len(tokens)), axes=axes)
        x, _, records = self.stack(x, flow)
        record = self.noted(network.joined(records), rng, {"norm": x})
        x = self.norm(x, rng)
        if self.config.classes is not None:
            x = pooled(x, rows(layout.valid, x.shape[1]), self.config.pool)
        return Encoded(self.head(x), record, x)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)
