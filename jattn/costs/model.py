"""What a model costs on one example: its blocks, which published tables count, and what stands around them."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jattn.costs.count import cost
from jattn.costs.record import Cost
from jattn.layers.flow import Flow
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.models import Model


class ModelCost(NamedTuple):
    """`blocks` from hidden state to hidden state; `around` them what makes the first one, the last norm and the head.

    The norm between two stacks is around them too.
    """

    blocks: Cost
    around: Cost

    @property
    def whole(self) -> Cost:
        """Both."""
        return self.blocks.plus(self.around)


def blocks(config: Model, context: int) -> Cost:
    """The cost of the blocks alone on one example; the weights are one party's, and secret to all others."""
    graph, weights = _outline(config)

    def run(weights: nnx.State, given: list[jax.Array]) -> jax.Array:
        # one stack, or that of a source and then that of a target which looks across
        flow = Flow(Layout())
        for stack, x in zip(nnx.merge(graph, weights).stacks(), given, strict=True):
            y = stack(x, flow)[0]
            flow = flow._replace(memory=y)
        return y

    x = jax.ShapeDtypeStruct((1, config.tokens(context), config.width), jnp.float32)
    return cost(run, weights, [x] * sides(config), owned=(0,))


def model(config: Model, context: int) -> ModelCost:
    """The cost of the logits of one example that no party may see, without padding, by weights that are one party's.

    Attention is counted as mathematics has it, all pairs at once: an engine that goes tile by tile computes more.
    Raises ValueError for attention that makes no weights.
    """
    graph, weights = _outline(config)

    def run(weights: nnx.State, inputs: Any) -> jax.Array:
        return nnx.merge(graph, weights)(inputs).logits

    inner = blocks(config, context)
    whole = cost(run, weights, config.inputs(context), owned=(0,))
    return ModelCost(inner, whole.minus(inner))


def sides(config: Model) -> int:
    """How many stacks of blocks it has."""
    return len(nnx.merge(*_outline(config)).stacks())


@functools.cache
def _outline(config: Model) -> tuple[nnx.GraphDef, nnx.State]:
    """The model with plain kernels and dense attention, without any arrays."""
    dense = {}
    for field in dataclasses.fields(config):
        if isinstance(attention := getattr(config, field.name), Mechanism):
            if not isinstance(attention, Attention):
                raise ValueError(
                    f"The cost of a private model is counted for attention with weights, got "
                    f"{type(attention).__name__}; use Attention."
                )
            dense[field.name] = dataclasses.replace(attention, implementation="dense", context_axis=None)
    config = dataclasses.replace(config, **dense)

    def made() -> nnx.Module:
        model = config.build(rngs=nnx.Rngs(0), dtype=jnp.float32, remat="none").folded()
        for stack in model.stacks():
            # layers in one scan: the same count, traced once
            stack.layers_at_once = 1
        return model

    return nnx.split(nnx.eval_shape(made))
