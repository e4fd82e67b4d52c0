"""A decoder-only transformer: embedding, a stack of residual blocks, a norm and a head.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
Departs: RMS norms with gains, squared ReLU and rotary positions by default, no biases, and zeros at the start in
whatever writes to the residual stream and in the head.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import Axes, constrained
from jattn.layers.block import Block, Place, Residual
from jattn.layers.buffers import Buffer
from jattn.layers.embeddings import Embedding, Head
from jattn.layers.feedforward import ACTIVATIONS, FeedForward
from jattn.layers.flow import Flow, Places, Record
from jattn.layers.fused_feedforward import FusedFeedForward
from jattn.layers.heads import Heads
from jattn.layers.heads.grouped import Grouped
from jattn.layers.multihead import MultiHead
from jattn.layers.norms import Kind, Norm
from jattn.layers.reparametrizations import Reparametrization
from jattn.layers.reparametrizations.plain import Plain
from jattn.layers.reparametrized import Reparametrized
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Rng, part
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary


@part
class DecoderConfig:
    """The options of a decoder; `expansion` is how much wider than `width` the feed-forward layers are inside.

    `norm_place` is before each half of a block, with one more norm before the head, or after each sum. A `residual`
    scaled by two learned numbers a layer trains where norms are gone; a fused feed-forward layer is one square kernel,
    and the `pruned` deepest blocks have none. With a
    `reparametrization` all kernels but the embedding's are made from what is learned, and none starts at 0.
    """

    width: int = 128
    depth: int = 4
    heads: int = 2
    projection: Heads = Grouped()
    attention: Attention = Attention(mask=Causal(), position=Rotary())
    norm: Literal["rms", "layer", "none"] = "rms"
    norm_place: Literal["before", "after"] = "before"
    residual: Literal["plain", "scaled"] = "plain"
    feedforward: Literal["full", "fused"] = "full"
    pruned: int = 0
    reparametrization: Reparametrization = Plain()
    activation: Literal["squared_relu", "gelu", "silu", "relu", "identity"] = "squared_relu"
    expansion: int = 4
    vocabulary: int = 256

    def __post_init__(self):
        for name in ("width", "depth", "heads", "expansion", "vocabulary"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(
                    f"DecoderConfig.{name} must be a whole number of at least 1, got {size!r}; the default is "
                    f"{type(self).__dataclass_fields__[name].default}."
                )
        for name, allowed in (
            ("norm", get_args(Kind)), ("norm_place", get_args(Place)), ("activation", tuple(ACTIVATIONS)),
            ("residual", get_args(Residual)), ("feedforward", ("full", "fused")),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"DecoderConfig.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}; the "
                    f"default is {allowed[0]}."
                )
        if not isinstance(self.pruned, int) or not 0 <= self.pruned <= self.depth:
            raise ValueError(
                f"DecoderConfig.pruned counts the deepest blocks without a feed-forward layer, at most {self.depth}, "
                f"got {self.pruned!r}; 0 prunes none."
            )
        for name, slot in (
            ("projection", Heads), ("attention", Attention), ("reparametrization", Reparametrization),
        ):  # fmt: skip
            if not isinstance(getattr(self, name), slot):
                raise TypeError(
                    f"DecoderConfig.{name} must be {slot.__name__}, got {type(getattr(self, name)).__name__}; pass a "
                    f"part, as in {name}={type(self).__dataclass_fields__[name].default!r}."
                )
        # refuses widths and heads that do not divide
        self.projection.dims(self.width, self.heads, self.depth)


class Decoded(NamedTuple):
    """Logits of the next token, what the blocks report (statistics stacked "l b t h"), and the decoding state."""

    logits: Float[Array, "b t v"]
    record: Record
    state: Any


class Decoder(nnx.Module):
    """Computes in `dtype`; weights and logits are float32. All its arrays are `nnx.Param` or `Buffer`."""

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
        dims = config.projection.dims(config.width, config.heads, config.depth)

        def feedforward(rngs: nnx.Rngs) -> nnx.Module:
            if config.feedforward == "fused":
                return FusedFeedForward(config.width)
            return FeedForward(config.width, config.expansion * config.width, config.activation, rngs=rngs)

        def block(rngs: nnx.Rngs, second: Callable = feedforward) -> Block:
            mixer = MultiHead(config.attention, config.projection, dims, rngs=rngs)
            options = config.norm, config.norm_place, config.residual
            return Block(mixer, second(rngs), config.width, *options, rngs=rngs)

        whole = config.depth - config.pruned
        bare = functools.partial(block, second=lambda _: None)
        self.embedding = Embedding(config.vocabulary, config.width, rngs=rngs)
        self.stack = Stack(
            repeat=(block,) if whole else (), last=(bare,) * config.pruned, depth=max(1, whole), remat=remat,
            layers_at_once=layers_at_once, rngs=rngs,
        )  # fmt: skip
        self.norm = Norm(config.norm if config.norm_place == "before" else "none", config.width, rngs=rngs)
        self.head = Head(config.width, config.vocabulary)
        plain = isinstance(config.reparametrization, Plain)
        self.kernels = None if plain else Reparametrized(self, config.reparametrization, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        *,
        layout: Layout | None = None,
        state: Any = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Decoded:
        """With `state` the tokens are new ones behind those it holds; without `rng` there is no noise.

        `axes` says how a mesh of devices splits examples, tokens and heads.
        """
        if self.kernels is not None:
            return self.folded()(tokens, layout=layout, state=state, rng=rng, axes=axes)
        x = constrained(axes, self.embedding(tokens, self.dtype, axes), "batch", "time", None)
        flow = Flow(layout or Layout(), state=state, rng=_for_batch(rng, len(tokens)), axes=axes)
        x, flow, records = self.stack(x, flow)
        return Decoded(self.head(self.norm(x)), _joined(records), flow.state)

    def folded(self) -> "Decoder":
        """The same decoder with plain kernels, for inference: a reparametrization then costs nothing."""
        if self.kernels is None:
            return self
        made = self.kernels.applied(self)
        made.kernels = None
        made.config = dataclasses.replace(self.config, reparametrization=Plain())
        return made

    def state(self, batch: int, length: int) -> Any:
        """An empty decoding state with room for `length` tokens, placed as the blocks are."""
        return self.stack.state(batch, length, self.dtype)

    def refreshed(self, observed: dict, rng: Array, step: Int[Array, ""]) -> nnx.State:
        """The buffers after one optimizer step, as `nnx.split(model, nnx.Param, Buffer)` gives them; the model stays.

        `observed` is `record.stats.observed` of the step before, or `{}`. Without buffers this computes nothing.
        """
        graphdef, params, buffers = nnx.split(self, nnx.Param, Buffer)
        if not jax.tree.leaves(buffers):
            return buffers
        model = nnx.merge(graphdef, params, buffers)
        model.stack.refresh(self._apart(observed), rng, step)
        if model.kernels is not None:
            model.kernels.renew(model)
        return nnx.state(model, Buffer)


    def _apart(self, observed: dict) -> Places:
        """What `_joined` gave, as the blocks are placed."""
        whole = self.config.depth - self.config.pruned
        repeat = (jax.tree.map(lambda leaf: leaf[:whole], observed),) if whole else ()
        last = tuple(jax.tree.map(lambda leaf, n=n: leaf[n], observed) for n in range(whole, self.config.depth))
        return Places(repeat=repeat, last=last)


def _joined(records: Places) -> Record:
    """The records of all blocks as one: statistics "l b t h", terms summed."""
    found = [*records.repeat, *(jax.tree.map(lambda leaf: leaf[None], record) for record in records.last)]
    stats = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(record.stats for record in found))
    terms: dict = {}
    for record in found:
        for name, term in record.terms.items():
            terms[name] = terms.get(name, 0) + term.sum()
    return Record(stats, terms)


def _for_batch(rng: Array | Rng | None, batch: int) -> Rng | None:
    if rng is None or isinstance(rng, Rng):
        return rng
    return Rng(rng, rng, jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch)))
