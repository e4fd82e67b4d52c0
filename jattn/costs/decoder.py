"""What a decoder costs on one text: its blocks, which published tables count, and what stands around them."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jattn.costs.count import cost
from jattn.costs.record import Cost
from jattn.layers.flow import Flow
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.models.decoder import Decoder, DecoderConfig


class DecoderCost(NamedTuple):
    """`blocks` from hidden state to hidden state; `around` them embedding, last norm and head."""

    blocks: Cost
    around: Cost

    @property
    def whole(self) -> Cost:
        """Both."""
        return self.blocks.plus(self.around)


def blocks(config: DecoderConfig, tokens: int) -> Cost:
    """The cost of the blocks alone on one text; the weights are one party's, and secret to all others."""
    graph, weights = _outline(config)

    def run(weights: nnx.State, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, weights).stack(x, Flow(Layout()))[0]

    return cost(run, weights, jax.ShapeDtypeStruct((1, tokens, config.width), jnp.float32), owned=(0,))


def decoder(config: DecoderConfig, tokens: int) -> DecoderCost:
    """The cost of the logits of one text of tokens that no party may see, by weights that are one party's.

    Attention is counted as mathematics has it, all pairs at once: an engine that goes tile by tile computes more.
    """
    graph, weights = _outline(config)

    def run(weights: nnx.State, text: jax.Array) -> jax.Array:
        return nnx.merge(graph, weights)(text).logits

    inner = blocks(config, tokens)
    whole = cost(run, weights, jax.ShapeDtypeStruct((1, tokens), jnp.int32), owned=(0,))
    return DecoderCost(inner, whole.minus(inner))


def _outline(config: DecoderConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The decoder with plain kernels and dense attention, without any arrays."""
    if not isinstance(config.attention, Attention):
        raise ValueError(
            f"The cost of a private decoder is counted for attention with weights, got "
            f"{type(config.attention).__name__}; use Attention."
        )
    dense = dataclasses.replace(config.attention, implementation="dense", context_axis=None)
    config = dataclasses.replace(config, attention=dense)
    # layers in one scan: the same count, traced once
    return nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0), layers_at_once=1).folded()))
