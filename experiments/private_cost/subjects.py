"""What is measured: single operations, blocks of entropy-guided attention, and a trained decoder, as functions."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from whole_rows import WEIGHTS, WholeRows

from jattn.layers.block import Block
from jattn.layers.feedforward import FeedForward
from jattn.layers.flow import Flow
from jattn.layers.fused_feedforward import FusedFeedForward
from jattn.layers.multihead import MultiHead
from jattn.mechanisms import Layout
from jattn.models.decoder import Decoder, DecoderConfig
from jattn.training.presets import PRESETS

# of the paper's names those that differ in a block's inference; EReg differs in training alone
BLOCKS = (
    "SM+LN+G", "SM+LN+R", "SM+LN", "SM+G", "SM+R", "SM", "SM+ScFFN", "SM+ScFuFFN", "SM(t)+ScFuFFN",
)  # fmt: skip
# one that has no feed-forward layer at all, as the paper prunes the deepest
PRUNED = "SM+ScFuFFN, pruned"
EPSILON = 1e-6


class Shape(NamedTuple):
    """Tokens, width and heads of a block; its feed-forward layers are four times as wide inside."""

    tokens: int
    width: int
    heads: int


class Subject(NamedTuple):
    """A function and what it is given, all of it secret."""

    function: Callable
    arguments: tuple


def layer_norm(x):
    """Without gains, which are a product more."""
    x -= x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)


def rms_norm(x):
    """Likewise."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)


def operations(shape: Shape) -> dict[str, Subject]:
    """Each once, as a block of that shape has it: weights of all heads, a norm, an activation, two kinds of product."""
    rng = np.random.default_rng(0)
    n, width, heads = shape
    logits, x, hidden = (
        rng.normal(size=size).astype(np.float32) for size in ((heads, n, n), (n, width), (n, 4 * width))
    )
    kernel = rng.normal(scale=width**-0.5, size=(width, width)).astype(np.float32)
    # every pair sees each other, so that nothing is left out of what the paper counts
    seen = np.ones((1, n, n), bool)

    def weights(of: Callable) -> Callable:
        return lambda logits: of(logits, seen)

    return {
        **{name: Subject(weights(of), (logits,)) for name, of in WEIGHTS.items()},
        "gelu": Subject(jax.nn.gelu, (hidden,)),
        "relu": Subject(jax.nn.relu, (hidden,)),
        "square": Subject(jnp.square, (hidden,)),
        "layer_norm": Subject(layer_norm, (x,)),
        "rms_norm": Subject(rms_norm, (x,)),
        "product": Subject(jnp.matmul, (x, kernel)),
    }


def config(name: str, shape: Shape) -> DecoderConfig:
    """Of a preset, at another shape; temperatures for as many tokens as there are."""
    held = PRESETS[name].model
    attention = held.attention
    if attention.score:
        (score,) = attention.score
        attention = dataclasses.replace(attention, score=dataclasses.replace(score, length=shape.tokens))
    return dataclasses.replace(held, attention=attention, width=shape.width, heads=shape.heads)


def block(name: str, shape: Shape, weights: str = "softmax") -> Subject:
    """One block of a preset with drawn kernels, from the residual stream to the residual stream of one example."""
    held, rngs = config(PRESETS_OF.get(name, name), shape), nnx.Rngs(0)
    mixer = MultiHead(
        WholeRows(held.attention, weights), held.projection, held.projection.dims(held.width, held.heads, 1), rngs=rngs
    )
    if name == PRUNED:
        second = None
    elif held.feedforward == "fused":
        second = FusedFeedForward(held.width)
    else:
        second = FeedForward(held.width, held.expansion * held.width, held.activation, rngs=rngs)
    made = Block(mixer, second, held.width, held.norm, held.norm_place, held.residual, rngs=rngs)
    graphdef, params = nnx.split(made)

    def run(params, x):
        return nnx.merge(graphdef, params)(x, Flow(Layout()))[0]

    x = np.random.default_rng(1).normal(size=(shape.tokens, shape.width)).astype(np.float32)
    return Subject(run, (drawn(params), x))


PRESETS_OF = {PRUNED: "SM+ScFuFFN"}


def drawn(params: Any) -> Any:
    """The same arrays, but kernels that start at 0 drawn like the others, since the identity shows nothing."""
    rng = np.random.default_rng(2)

    def one(leaf):
        if leaf.ndim < 2 or np.any(leaf):
            return leaf
        return jnp.asarray(rng.normal(scale=1 / math.sqrt(leaf.shape[-2]), size=leaf.shape), leaf.dtype)

    return jax.tree.map(one, params)


def decoder(model: Decoder, tokens: np.ndarray) -> Subject:
    """Logits of a trained decoder from secret tokens, which come as rows of an identity matrix, "b t v"."""
    for repeated in model.stack.repeat:
        repeated.mixer.attention = WholeRows(repeated.mixer.attention)
    graphdef, params = nnx.split(model)

    def run(params, rows):
        model = nnx.merge(graphdef, params)
        x, _, _ = model.stack(rows @ model.embedding.table[...], Flow(Layout()))
        return model.head(model.norm(x))

    return Subject(run, (params, np.eye(model.config.vocabulary, dtype=np.float32)[tokens]))
