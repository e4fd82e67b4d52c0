"""What all models share: blocks from one set of options, kernels that are made, buffers that are renewed."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jattn.layers.biased_feedforward import BiasedFeedForward
from jattn.layers.block import Block
from jattn.layers.buffers import Buffer
from jattn.layers.dropout import drop
from jattn.layers.feedforward import FeedForward
from jattn.layers.flow import Places, Record
from jattn.layers.fused_feedforward import FusedFeedForward
from jattn.layers.gated_feedforward import GatedFeedForward
from jattn.layers.multihead import MultiHead
from jattn.layers.norms import Norm
from jattn.layers.reparametrizations.plain import Plain
from jattn.layers.reparametrized import Reparametrized
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Mechanism
from jattn.models import Model
from jattn.part import Rng

# where a record has what the norms outside of blocks observed
LAST = "last"


class Network(nnx.Module):
    """A model with its arrays, all of which are `nnx.Param` or `Buffer`; weights and logits are float32.

    `network(inputs, layout=None, rng=None, axes=None)` gives logits, a `Record` of its layers, and what else it knows;
    without `rng` there is no noise, and `axes` says how a mesh of devices splits examples, tokens and heads. A subclass
    has `config`, `dtype`, `kernels` and the stacks that `stacks` names.
    """

    def stacks(self) -> tuple[Stack, ...]:
        """Its stacks of blocks, as their records follow one another."""
        raise NotImplementedError

    def noted(self, record: Record, rng: Array | Rng | None, normed: dict[str, Array]) -> Record:
        """The record, and in it what norms outside of blocks observe of what they are given, by their names here."""
        seen = {name: getattr(self, name).observed(x, rng) for name, x in normed.items()}
        if not any(seen.values()):
            return record
        return record._replace(stats=record.stats._replace(observed=record.stats.observed | {LAST: seen}))

    def folded(self) -> "Network":
        """The same model with plain kernels, for inference: a reparametrization then costs nothing."""
        if self.kernels is None:
            return self
        made = self.kernels.applied(self)
        made.kernels = None
        made.config = dataclasses.replace(self.config, reparametrization=Plain())
        return made

    def refreshed(self, observed: dict, rng: Array, step: Int[Array, ""]) -> nnx.State:
        """The buffers after one optimizer step, as `nnx.split(model, nnx.Param, Buffer)` gives them; the model stays.

        `observed` is `record.stats.observed` of the step before, or `{}`. Without buffers this computes nothing.
        """
        graphdef, params, buffers = nnx.split(self, nnx.Param, Buffer)
        if not jax.tree.leaves(buffers):
            return buffers
        model = nnx.merge(graphdef, params, buffers)
        for name, seen in observed.get(LAST, {}).items():
            getattr(model, name).refresh(seen)
        observed = {name: seen for name, seen in observed.items() if name != LAST}
        first = 0
        for number, stack in enumerate(model.stacks()):
            places, first = _apart(stack, observed, first)
            stack.refresh(places, jax.random.fold_in(rng, number) if number else rng, step)
        if model.kernels is not None:
            model.kernels.renew(model)
        return nnx.state(model, Buffer)


def kernels(network: Network, rngs: nnx.Rngs) -> Reparametrized | None:
    """What lies beside the kernels of a network, all of whose layers are there; None where they are plain."""
    how = network.config.reparametrization
    return None if isinstance(how, Plain) else Reparametrized(network, how, rngs=rngs)


def feed_forward(config: Model, rngs: nnx.Rngs) -> nnx.Module:
    """The second half of a block."""
    if config.feedforward == "fused":
        return FusedFeedForward(config.width)
    kind = {"full": FeedForward, "gated": GatedFeedForward, "biased": BiasedFeedForward}[config.feedforward]
    hidden = config.expansion * config.width
    return kind(config.width, hidden, config.activation, config.hidden_dropout, rngs=rngs)


def multi_head(config: Model, attention: Mechanism, rngs: nnx.Rngs) -> MultiHead:
    """The first half of a block."""
    dims = config.projection.dims(config.width, config.heads, config.depth)
    return MultiHead(attention, config.projection, dims, rngs=rngs)


def block(config: Model, rngs: nnx.Rngs, first: Callable, second: Callable | None = feed_forward) -> Block:
    """A block whose halves are made by `first(rngs)` and `second(config, rngs)`."""
    mixer = first(rngs)
    layer = None if second is None else second(config, rngs)
    norm = config.norm, config.norm_place, config.residual, config.epsilon, config.dropout
    return Block(mixer, layer, config.width, *norm, rngs=rngs)


def stack(
    config: Model, attention: Mechanism, *, rngs: nnx.Rngs, remat: Remat = "none", layers_at_once: int | None = None
) -> Stack:
    """As many blocks of self-attention as the model is deep, the last ones pruned."""
    make = functools.partial(block, config, first=functools.partial(multi_head, config, attention))
    bare = functools.partial(make, second=None)
    whole = config.depth - config.pruned
    return Stack(
        repeat=(make,) if whole else (), last=(bare,) * config.pruned, depth=max(1, whole), remat=remat,
        layers_at_once=layers_at_once, rngs=rngs,
    )  # fmt: skip


def embedded(config: Model, x: Float[Array, "b t m"], rng: Rng | None) -> Float[Array, "b t m"]:
    """What the first block reads, of which dropout leaves a part in training."""
    return drop(x, config.dropout, rng, "embedded")


def last_norm(config: Model, rngs: nnx.Rngs) -> Norm:
    """The norm before the head."""
    kind = config.norm if config.norm_place == "before" else "none"
    return Norm(kind, config.width, config.epsilon, config.last_gains, rngs=rngs)


def joined(records: Places) -> Record:
    """The records of all blocks as one: statistics "l b t h", none where a block has none, terms summed.

    Raises ValueError where blocks observe different things.
    """
    one = [jax.tree.map(lambda leaf: leaf[None], record) for record in (*records.first, *records.last)]
    found = [*one[: len(records.first)], *records.repeat, *one[len(records.first) :]]
    check_alike([record.stats for record in found])
    stats = jax.tree.map(_after_one_another, *(record.stats for record in found), is_leaf=_absent)
    terms: dict = {}
    for record in found:
        for name, term in record.terms.items():
            terms[name] = terms.get(name, 0) + term.sum()
    return Record(stats, terms)


def check_alike(stats: Sequence[Any]) -> None:
    """Refuses statistics of blocks of which one has observed what another has not."""
    reported = [
        {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(each, _absent)} for each in stats
    ]
    if apart := set.union(*reported) - set.intersection(*reported):
        raise ValueError(
            f"The blocks of a model must observe the same, got {', '.join(sorted(apart))} of some alone; give each of "
            f"its attentions the parts that observe, or none of them."
        )


def _absent(leaf: Any) -> bool:
    return leaf is None


def _after_one_another(*leaves: Array | None) -> Array | None:
    return None if any(map(_absent, leaves)) else jnp.concatenate(leaves)


def for_batch(rng: Array | Rng | None, batch: int) -> Rng | None:
    """A key for each example."""
    if rng is None or isinstance(rng, Rng):
        return rng
    return Rng(rng, rng, jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch)))


def _apart(stack: Stack, observed: dict, start: int) -> tuple[Places, int]:
    """What `joined` gave of a stack whose layers begin at `start`, as its blocks are placed; and where they end."""
    found: dict[str, list[Any]] = {}
    for name in ("first", "repeat", "last"):
        found[name] = []
        for _ in getattr(stack, name):
            size = stack.depth if name == "repeat" else 1
            # single blocks have no axis of layers
            cut = slice(start, start + size) if name == "repeat" else start
            found[name].append(jax.tree.map(lambda leaf, cut=cut: leaf[cut], observed))
            start += size
    return Places(**{name: tuple(each) for name, each in found.items()}), start
