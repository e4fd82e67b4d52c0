"""One sequence into another: an encoder of the source, and a decoder that attends to itself and to the source.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.1.
Departs: the blocks are those of the other models (norms before each half by default, no biases), source and target have
a table each, and the head has one of its own.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.added_positions import KINDS, AddedPositions
from jattn.layers.axes import Axes, constrained
from jattn.layers.embeddings import Embedding, Head
from jattn.layers.flow import Flow, Record, for_layer
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.models import Model, network
from jattn.models.network import Network
from jattn.part import Rng, Stats, part
from jattn.parts.masks.causal import Causal

# the data of a call that a query side and a key side may each have
SIDED = ("positions", "segments", "valid")


class Sequences(NamedTuple):
    """What is read, and what is written as far as it is known."""

    source: Int[Array, "b s"]
    target: Int[Array, "b t"]


@part
class EncoderDecoderConfig(Model):
    """`depth` blocks on each side; the target's `attention` is causal, the source and the way across see all.

    `length` is how many learned positions each side has. No block is pruned.
    """

    attention: Attention = Attention(mask=Causal())
    source_attention: Attention = Attention()
    cross_attention: Attention = Attention()
    positions: Literal["none", "learned", "sin_cos"] = "sin_cos"
    length: int = 512
    vocabulary: int = 256

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "length", "vocabulary")
        self.one_of("positions", KINDS)
        if self.pruned:
            raise ValueError(
                f"EncoderDecoderConfig.pruned must be 0, got {self.pruned}; a decoder alone has pruned blocks."
            )

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "EncoderDecoder":
        return EncoderDecoder(self, rngs=rngs, dtype=dtype, remat=remat)

    def inputs(self, context: int) -> Sequences:
        side = super().inputs(context)
        return Sequences(side, side)


class Transduced(NamedTuple):
    """Logits of the target's next token; statistics of the source's layers, then of the target's own, then across.

    Rows that one side has more of than the other see no key on the shorter one.
    """

    logits: Float[Array, "b t v"]
    record: Record
    memory: Float[Array, "b s m"]


class Own(nnx.Module):
    """Attention within the target in a stack whose other blocks look across."""

    def __init__(self, inner: nnx.Module):
        self.inner = inner

    def __call__(self, x: Float[Array, "b t m"], flow: Flow) -> tuple[Float[Array, "b t m"], Flow, Record]:
        here = flow._replace(memory=None, layout=_side(flow.layout, 0))
        y, after, record = self.inner(x, here)
        return y, flow._replace(shared=after.shared), record

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the attention's buffers."""
        self.inner.refresh(observed, rng, step)


class EncoderDecoder(Network):
    """Computes in `dtype`; a layout's (query, key) pairs are of the target and of the source."""

    def __init__(
        self,
        config: EncoderDecoderConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        remat: Remat = "none",
        layers_at_once: int | None = None,
    ):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        options: dict[str, Any] = {"rngs": rngs, "remat": remat, "layers_at_once": layers_at_once}

        def own(rngs: nnx.Rngs) -> nnx.Module:
            return Own(network.multi_head(config, config.attention, rngs))

        def across(rngs: nnx.Rngs) -> nnx.Module:
            return network.multi_head(config, config.cross_attention, rngs)

        self.source_embedding = Embedding(config.vocabulary, config.width, rngs=rngs)
        self.target_embedding = Embedding(config.vocabulary, config.width, rngs=rngs)
        self.source_positions = AddedPositions(config.positions, config.length, config.width, rngs=rngs)
        self.target_positions = AddedPositions(config.positions, config.length, config.width, rngs=rngs)
        self.source_stack = network.stack(config, config.source_attention, **options)
        self.target_stack = Stack(
            repeat=(
                lambda rngs: network.block(config, rngs, own, None),
                lambda rngs: network.block(config, rngs, across),
            ),
            depth=config.depth,
            **options,
        )
        self.source_norm = network.last_norm(config, rngs)
        self.norm = network.last_norm(config, rngs)
        self.head = Head(config.width, config.vocabulary)
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        inputs: Sequences,
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Transduced:
        if self.kernels is not None:
            return self.folded()(inputs, layout=layout, rng=rng, axes=axes)
        if not isinstance(inputs, Sequences):
            raise TypeError(
                f"EncoderDecoder reads Sequences(source, target), got {type(inputs).__name__}; use --objective "
                f"target_given_source and a source that gives both."
            )
        layout, rng = layout or Layout(), network.for_batch(rng, len(inputs.target))
        source, target = _side(layout, 1), _side(layout, 0)
        memory = self.source_positions(self.source_embedding(inputs.source, self.dtype, axes), source.positions)
        memory = constrained(axes, network.embedded(self.config, memory, rng), "batch", "time", None)
        before, _, found = self.source_stack(memory, Flow(source, rng=rng, axes=axes))
        memory = self.source_norm(before, rng)
        x = self.target_positions(self.target_embedding(inputs.target, self.dtype, axes), target.positions)
        # noise of its own, apart from that of the source and its layers
        rng = for_layer(rng, self.config.depth)
        x = constrained(axes, network.embedded(self.config, x, rng), "batch", "time", None)
        flow = Flow(layout, memory=memory, rng=rng, axes=axes)
        x, _, records = self.target_stack(x, flow)
        both = _both(network.joined(found), network.joined(records))
        both = self.noted(both, rng, {"source_norm": before, "norm": x})
        return Transduced(self.head(self.norm(x, rng)), both, memory)

    def stacks(self) -> tuple[Stack, ...]:
        return self.source_stack, self.target_stack


def _side(layout: Layout, number: int) -> Layout:
    """The layout within one side of a call."""
    pairs = {name: getattr(layout, name) for name in SIDED}
    return layout._replace(**{name: each[number] for name, each in pairs.items() if isinstance(each, tuple)})


def _both(one: Record, other: Record) -> Record:
    """Two records as one, the shorter with rows behind its own that see no key."""
    network.check_alike([one.stats, other.stats])
    rows = max(each.stats.visible.shape[2] for each in (one, other))

    def longer(stats: Stats, name: str) -> Array | None:
        leaf = getattr(stats, name)
        empty = -jnp.inf if name in ("log_normalizer", "max_logit") else 0
        if leaf is None:
            return None
        return jnp.pad(leaf, ((0, 0), (0, 0), (0, rows - leaf.shape[2]), (0, 0)), constant_values=empty)

    made = {}
    for name in ("entropy", "log_normalizer", "max_logit", "visible"):
        leaves = [longer(each.stats, name) for each in (one, other)]
        made[name] = None if any(leaf is None for leaf in leaves) else jnp.concatenate(leaves)
    observed = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), one.stats.observed, other.stats.observed)
    terms = {name: one.terms.get(name, 0) + other.terms.get(name, 0) for name in one.terms | other.terms}
    return Record(one.stats._replace(**made, observed=observed), terms)
