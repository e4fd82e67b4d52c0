"""Any attention inside Flax's own multi-head layers: one function for the `attention_fn` of linen and of NNX.

Source: the parameters are those of `flax.linen.dot_product_attention` and `flax.nnx.dot_product_attention` and of what
the layers of Flax 0.12 pass, in their order and with their defaults.
Departs: a row that sees no key gives 0, where Flax gives the mean of the values; logits and sums are in float32 at
least; dropout draws a pattern of its own for each example and head.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax.lax import PrecisionLike
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.buffers import arrays, hold
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Dims, Part, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.scores import Score

# what a module that Flax hands over sows, each "... t h"
SOWN = ("entropy", "log_normalizer", "max_logit")
# the name of a part's arrays among those of a linen layer, beside `query`, `key`, `value` and `out`
OWNED = "attention"


def attention_fn(attention: Attention = Attention(), *, variables: Variables | None = None) -> Callable[..., Array]:
    """The `attention_fn` of `flax.linen.MultiHeadDotProductAttention` and of `flax.nnx.MultiHeadAttention`.

    Masks are Flax's, any number but 0 attends, and cost their own size; `Attention(mask=Causal())` costs nothing.
    Dropout is the layer's `dropout_rate`, with `broadcast_dropout=False`. Called with `sow_weights=True`, a layer sows
    no weights but `entropy`, `log_normalizer` and `max_logit` of every row, "... t h", into `intermediates`, and one of
    linen owns the arrays of the parts, as the entry `attention` of its params. An NNX layer owns the `variables` given
    here, those of `attention.init`, as its `nnx.Param`s; linen takes given ones as they are. When decoding, Flax says
    nothing of positions, so that parts that read them are refused there.
    """
    if not isinstance(attention, Attention):
        raise TypeError(f"attention_fn serves an Attention, got {type(attention).__name__}; use jattn.nn.MultiHead.")
    if not isinstance(variables, Variables | None):
        raise TypeError(
            f"attention_fn takes what attention.init gives, Variables, got {type(variables).__name__}; for a layer of "
            f"linen that owns them leave it out."
        )
    if attention.dropout:
        raise ValueError(
            f"A Flax layer says itself when to drop, got Attention.dropout={attention.dropout}; give the layer "
            f"dropout_rate={attention.dropout} and leave it out here."
        )
    for held in _parts(attention):
        if getattr(type(held), "project", Score.project) not in (Score.project, Attention.project):
            raise ValueError(
                f"attention_fn gets queries, keys and values alone, got {type(held).__name__}, which reads the layer's "
                f"input; use jattn.nn.MultiHead."
            )
    return _Hook(attention, variables)


class _Hook(nnx.Module):
    """A module of NNX, so that a layer of NNX that holds it finds its arrays; for linen a function."""

    def __init__(self, attention: Attention, variables: Variables | None):
        self.attention = attention
        self.held = hold(variables or Variables({}, {}))

    def attention_fn(
        self,
        query: Float[Array, "*b t h d"],
        key: Float[Array, "*b s g d"],
        value: Float[Array, "*b s j e"],
        bias: Float[Array, "..."] | None = None,
        mask: Array | None = None,
        broadcast_dropout: bool = True,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        precision: PrecisionLike = None,
        module: linen.Module | nnx.Module | None = None,
        *,
        is_causal: bool = False,
        force_fp32_for_softmax: bool = False,
        qk_attn_weights_einsum: Callable | None = None,
        attn_weights_value_einsum: Callable | None = None,
        input_positions: Int[Array, "..."] | None = None,
    ) -> Float[Array, "*b t h e"]:
        """Attends; `bias` and `mask` broadcast to "*b h t s", `input_positions` are those of both sides."""
        if qk_attn_weights_einsum or attn_weights_value_einsum:
            raise ValueError(
                "jattn makes no matrix of weights, got an einsum for one; leave qk_attn_weights_einsum_cls and "
                "attn_weights_value_einsum_cls out."
            )
        dtype = dtype or jnp.result_type(query, key, value)
        query, key, value = (x.astype(dtype) for x in (query, key, value))
        attention, rng = self.attention, None if deterministic else dropout_rng
        if is_causal:
            attention = dataclasses.replace(attention, mask=attention.mask & Causal())
        if dropout_rate and not deterministic:
            _check_dropout(rng, broadcast_dropout)
            attention = dataclasses.replace(attention, dropout=dropout_rate)
        layout = Layout(
            positions=input_positions,
            mask=None if mask is None else _shared("mask", jnp.asarray(mask) != 0, query, key),
            bias=None if bias is None else _shared("bias", jnp.asarray(bias), query, key),
        )
        if input_positions is None and query.shape[-3] == 1 < key.shape[-3] and _positional(attention):
            raise ValueError(
                f"Flax's layers say no positions when they decode, got one query for {key.shape[-3]} keys and parts "
                f"that read where it lies; decode with jattn.nn.MultiHead, or pass input_positions."
            )
        variables = arrays(self.held)
        if not any(variables):
            variables = _found(module, attention, Dims.of(query, key, value))
        with contextlib.nullcontext() if precision is None else jax.default_matmul_precision(_named(precision)):
            found = attend(query, key, value, attention, variables=variables, rng=rng, layout=layout)
        if module is not None:
            for name in SOWN:
                module.sow("intermediates", name, getattr(found.stats, name))
        return found.out

    __call__ = attention_fn


def _positional(attention: Attention) -> bool:
    """Whether some part reads positions."""
    return any(held.positional for held in (*attention.score, attention.mask, attention.position))


def _parts(part: Part) -> Iterator[Part]:
    yield part
    for _, held in part.children():
        yield from _parts(held)


def _check_dropout(rng: Array | None, broadcast: bool) -> None:
    if rng is None:
        raise ValueError("Dropout needs a key, got a dropout_rate without dropout_rng; pass it, or deterministic=True.")
    if broadcast:
        raise ValueError(
            "jattn drops weights of each example and head apart, got broadcast_dropout=True; give the Flax layer "
            "broadcast_dropout=False."
        )


def _shared(name: str, array: Array, query: Array, key: Array) -> Array:
    """Flax's array of pairs as `Layout` takes it: of rank 3 where the batch shares it, else with all batch axes."""
    batch = query.shape[:-3]
    full = (*batch, query.shape[-2], query.shape[-3], key.shape[-3])
    fits = array.ndim <= len(full) and all(
        n in (1, size) for n, size in zip(array.shape[::-1], full[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"A {name} broadcasts to [batch..., heads, queries, keys] = {full}, got {array.shape}; add or swap axes."
        )
    array = array.reshape((1,) * (3 - array.ndim) + array.shape)
    lead = array.shape[:-3]
    if max(lead, default=1) == 1:
        return array.reshape(array.shape[-3:])
    return jnp.broadcast_to(array, (*batch, *array.shape[-3:]))


def _found(module: linen.Module | nnx.Module | None, attention: Attention, dims: Dims) -> Variables | None:
    """The arrays of the parts as a layer of linen owns them, or None where there are none."""
    shapes = jax.eval_shape(lambda rng: attention.init(rng, dims), jax.random.key(0))
    if not any(shapes):
        return None
    if not isinstance(module, linen.Module):
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
        absent = ", ".join(jax.tree_util.keystr(path, simple=True, separator="/") for path in paths)
        raise ValueError(
            f"attention_fn needs an owner of the arrays of its parts, got none for {absent}; pass attention_fn(..., "
            f"variables=attention.init(rng, jattn.Dims(...))), or call the layer of linen with sow_weights=True, in "
            f"init too, so that it owns them."
        )

    def cast(leaf):
        learned = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(getattr(module, "param_dtype", leaf.dtype)) if learned else leaf

    params, buffers = {}, {}
    if shapes.params:
        params = module.param(OWNED, lambda rng: jax.tree.map(cast, attention.init(rng, dims).params))
    if shapes.buffers:
        kept = module.variable("buffers", OWNED, lambda: attention.init(module.make_rng("params"), dims).buffers)
        buffers = kept.value
    return Variables(params, buffers)


def _named(precision: Any) -> str:
    """Flax's `precision` as `jax.default_matmul_precision` takes it."""
    one = precision[0] if isinstance(precision, tuple | list) and len(set(precision)) == 1 else precision
    try:
        return jax.lax.Precision(one).name.lower()
    except (ValueError, TypeError):
        pass
    name = getattr(one, "name", one)
    if name not in jax.lax.DotAlgorithmPreset.__members__:
        raise ValueError(
            f"One precision serves all products, a jax.lax.Precision, a jax.lax.DotAlgorithmPreset or the name of one, "
            f"got {precision!r}; jax.lax.Precision.HIGHEST is exact."
        )
    return name
