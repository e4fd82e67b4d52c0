"""An encoder: every token sees every other one, and the logits are of the tokens themselves or of the whole.

Source: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019, arXiv:1810.04805, section 3.
Departs: the blocks are those of the decoder (norms before each half, no biases), and positions rotary by default; what
is pooled goes to the head as it is.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.layers.added_positions import KINDS, AddedPositions
from jattn.layers.axes import Axes, constrained
from jattn.layers.classifier import Classifier
from jattn.layers.embeddings import DEVIATION, Embedding, Head
from jattn.layers.flow import Flow, Record
from jattn.layers.number_embedding import NumberEmbedding
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout, Mechanism
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

    The `vocabulary` holds all bytes and one token more, which stands for those that are hidden; or a token is one of
    the real numbers of a line, or of an image, pixel by pixel. Fresh vectors of tokens have entries of an
    `embedding_deviation`. `length` is how many learned positions there are, `classifier_width` that of a layer with
    GELU and biases between what is pooled and the classes, if any. Which tokens a row sees the `attention` says: all of
    them by default, and in linear attention with order="full" alone.
    """

    attention: Mechanism = Attention(position=Rotary())
    positions: Literal["none", "learned", "sin_cos"] = "none"
    length: int = 512
    reads: Literal["tokens", "numbers"] = "tokens"
    vocabulary: int = 257
    embedding_deviation: float = DEVIATION
    classes: int | None = None
    pool: Literal["mean", "first"] = "mean"
    classifier_width: int | None = None

    def __post_init__(self):
        super().__post_init__()
        given = [name for name in ("classes", "classifier_width") if getattr(self, name) is not None]
        self.at_least(1, "length", "vocabulary", *given)
        self.one_of("positions", KINDS)
        self.one_of("pool", ("mean", "first"))
        self.one_of("reads", ("tokens", "numbers"))
        if not 0 < self.embedding_deviation < math.inf:
            raise ValueError(
                f"EncoderConfig.embedding_deviation must be a finite number above 0, got {self.embedding_deviation!r}; "
                f"the default is {DEVIATION}."
            )
        if self.classes is None and given + ["numbers"] * (self.reads == "numbers"):
            raise ValueError(
                "EncoderConfig.classes must be given where numbers are read or a classifier has a width, got None; use "
                "--model.classes 10."
            )

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "Encoder":
        return Encoder(self, rngs=rngs, dtype=dtype, remat=remat)

    def inputs(self, context: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, context), jnp.float32 if self.reads == "numbers" else jnp.int32)


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
        self.embedding = _embedding(config, rngs)
        self.positions = AddedPositions(config.positions, config.length, config.width, rngs=rngs)
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        self.head = _head(config, rngs)
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        tokens: Int[Array, "b t"] | Float[Array, "b ..."],
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Encoded:
        if self.kernels is not None:
            return self.folded()(tokens, layout=layout, rng=rng, axes=axes)
        layout = layout or Layout()
        rng = network.for_batch(rng, len(tokens))
        if self.config.reads == "numbers":
            # an image's pixels, row by row
            x = self.embedding(tokens.reshape(len(tokens), -1), self.dtype)
        else:
            x = self.embedding(tokens, self.dtype, axes)
        x = network.embedded(self.config, self.positions(x, layout.positions), rng)
        x = constrained(axes, x, "batch", "time", None)
        x, _, records = self.stack(x, Flow(layout, rng=rng, axes=axes))
        record = self.noted(network.joined(records), rng, {"norm": x})
        x = self.norm(x, rng)
        if self.config.classes is not None:
            x = pooled(x, rows(layout.valid, x.shape[1]), self.config.pool)
        logits = self.head(x) if self.config.classifier_width is None else self.head(x, rng)
        return Encoded(logits, record, x)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)


def _embedding(config: EncoderConfig, rngs: nnx.Rngs) -> nnx.Module:
    if config.reads == "numbers":
        return NumberEmbedding(config.width, rngs=rngs)
    return Embedding(config.vocabulary, config.width, config.embedding_deviation, rngs=rngs)


def _head(config: EncoderConfig, rngs: nnx.Rngs) -> nnx.Module:
    if config.classes is None:
        return Head(config.width, config.vocabulary)
    if config.classifier_width is None:
        return Head(config.width, config.classes, None)
    return Classifier(config.width, config.classifier_width, config.classes, config.dropout, rngs=rngs)
