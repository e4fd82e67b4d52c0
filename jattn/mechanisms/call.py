"""Reads the arguments of `jax.nn.dot_product_attention` into data and a mechanism, and refuses those that do not fit.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.1; names and meaning
of the arguments are those of `jax.nn`.
"""

import math
import operator
import warnings
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jattn.mechanisms import Layout, shapes
from jattn.mechanisms.attention import Attention
from jattn.numerics import wide
from jattn.part import Dims, Own, Tile, Variables, part
from jattn.parts.masks import Full, Mask
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.scores import Score

IMPLEMENTATIONS = ("tiled", "dense", "xla", "cudnn", "tokamax")
# a length of an axis of heads, in lengths of the axis of time, from which on the two look swapped
LOPSIDED = 4


class Given(NamedTuple):
    """The arguments as they came, by the names and in the order of `jax.nn`."""

    query: Any
    key: Any
    value: Any
    bias: Any
    mask: Any
    scale: Any
    is_causal: Any
    query_seq_lengths: Any
    key_value_seq_lengths: Any
    local_window_size: Any
    implementation: Any
    return_residual: Any


class Arrays(NamedTuple):
    """The data of a call; `bias` and `mask` without batch axes where the batch shares them; `scale` where traced."""

    query: Float[Array, "*b t h d"]
    key: Float[Array, "*b s g d"]
    value: Float[Array, "*b s j e"]
    bias: Float[Array, "... #h #t #s"] | None
    mask: Bool[Array, "... #h #t #s"] | None
    scale: Float[Array, ""] | None
    query_lengths: Int[Array, "*b"] | None
    key_lengths: Int[Array, "*b"] | None

    def layout(self) -> Layout:
        """What `attend` is given of it."""
        return Layout(valid=(self.query_lengths, self.key_lengths), mask=self.mask, bias=self.bias)


class Options(NamedTuple):
    """What is known when a call is compiled; `mask` is the caller's own, None where it is an array."""

    causal: bool
    window: tuple[int, int] | None
    mask: Mask | None
    implementation: str
    residual: bool


class Call(NamedTuple):
    """Data, arrays of the mechanism, the mechanism without what its functions close over, and options."""

    arrays: Arrays
    own: Own
    attention: Attention
    options: Options


@part
class Scaled(Score):
    """Logits times a number that is data: a learned temperature has its gradient."""

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"scale": jnp.ones(())}

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        return logits * own["scale"].astype(logits.dtype)


def read(given: Given) -> Call:
    """The call that the arguments make. Raises ValueError for what does not fit, TypeError for a wrong kind."""
    implementation = given.implementation or IMPLEMENTATIONS[0]
    if implementation not in IMPLEMENTATIONS:
        names = ", ".join(repr(name) for name in IMPLEMENTATIONS)
        raise ValueError(f"implementation must be one of {names}, got {implementation!r}; leave it out for the first.")
    query, key, value = vectors = tuple(jnp.asarray(x) for x in given[:3])
    _check_dtypes(vectors)
    by_object = isinstance(given.mask, Mask) or callable(given.mask)
    pairs = {"bias": given.bias, "mask": None if by_object else given.mask}
    pairs = {name: None if array is None else jnp.asarray(array) for name, array in pairs.items()}
    _check_pairs(**pairs)
    lengths = {name: getattr(given, name) for name in ("query_seq_lengths", "key_value_seq_lengths")}
    lengths = {name: None if array is None else _lengths(name, array) for name, array in lengths.items()}
    _check_shapes([x.shape for x in vectors], {n: x.shape for n, x in (pairs | lengths).items() if x is not None})

    batch, sizes = query.shape[:-3], (query.shape[-2], query.shape[-3], key.shape[-3])
    bias, mask = (_spread(array, batch, sizes) for array in pairs.values())
    if bias is not None and not jnp.issubdtype(bias.dtype, jnp.floating):
        bias = bias.astype(wide(query.dtype))
    number, scale = _scale(given.scale)
    arrays = Arrays(query, key, value, bias, mask, scale, *(_spread(x, batch, ()) for x in lengths.values()))
    window = _window(given.local_window_size)
    own_mask = Attention(mask=given.mask).mask if by_object else None
    options = Options(bool(given.is_causal), window, own_mask, implementation, bool(given.return_residual))
    attention = Attention(score=() if scale is None else Scaled(), mask=_mask(options), scale=number)
    variables = Variables({} if scale is None else {"score": {"0": {"scale": scale}}}, {})
    attention, own = attention.closed(attention.own(variables), wide(query.dtype))
    return Call(arrays, own, attention, options)


def _mask(options: Options) -> Mask:
    members = [Causal()] if options.causal else []
    members += [] if options.window is None else [Window(*options.window)]
    members += [] if options.mask is None else [options.mask]
    return reduce(operator.and_, members) if members else Full()


def _check_dtypes(vectors: tuple) -> None:
    dtypes = [x.dtype for x in vectors]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(dtypes[0], jnp.floating):
        raise ValueError(
            f"Query, key and value are floating and of one dtype, got {', '.join(map(str, dtypes))}; cast them first."
        )


def _check_pairs(bias: Array | None, mask: Array | None) -> None:
    if mask is not None and mask.dtype != bool:
        raise TypeError(
            f"A mask is boolean, True where a query attends to a key, got {mask.dtype}; numbers that are added to the "
            f"logits go in as bias."
        )
    if bias is not None and bias.dtype == bool:
        raise TypeError("A bias is added to the logits, got booleans; where a query may attend goes in as mask.")


def _lengths(name: str, array: Any) -> Int[Array, "..."]:
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} counts tokens, one whole number an example, got {array.dtype}; cast it to int32.")
    return array


def _scale(scale: Any) -> tuple[float | None, Array | None]:
    """As a number that the compiled call holds, or as data, with 1 in its place."""
    if scale is None or isinstance(scale, int | float | np.number):
        return None if scale is None else float(scale), None
    if not hasattr(scale, "dtype"):
        raise TypeError(f"scale is a number or an array of one, got {scale!r}; leave it out for 1/sqrt of the width.")
    scale = jnp.asarray(scale)
    if scale.ndim:
        raise ValueError(f"scale is one number for all logits, got shape {scale.shape}; multiply the query instead.")
    return 1.0, scale


def _window(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        left, right = (operator.index(n) for n in (size if isinstance(size, tuple | list) else (size, size)))
    except (TypeError, ValueError):
        left = right = -1
    if min(left, right) < 0:
        raise ValueError(
            f"local_window_size is a whole number of tokens of at least 0, or a pair (left, right) of such, got "
            f"{size!r}; to see every key leave it out."
        )
    return left, right


def _check_shapes(vectors: list, others: dict) -> None:
    fits_swapped = shapes.check(*vectors, others)
    time, heads = vectors[0][-3:-1]
    if fits_swapped and heads > LOPSIDED * time > LOPSIDED:
        warnings.warn(
            f"A query of shape {vectors[0]} is read as [..., time, heads, width], {time} tokens of {heads} heads; if "
            f"{time} is the number of heads, swap the axes, as in jnp.swapaxes(query, -3, -2).",
            stacklevel=5,
        )


def _spread(array: Array | None, batch: tuple, sizes: tuple) -> Array | None:
    """With all batch axes, or with none where the batch shares it; the other axes `sizes`, or 1."""
    if array is None:
        return None
    rank = len(batch) + len(sizes)
    shape = (1,) * (rank - array.ndim) + array.shape[max(0, array.ndim - rank) :]
    lead, rest = shape[: len(batch)], shape[len(batch) :]
    if math.prod(lead) == 1 and sizes:
        return array.reshape(rest)
    return jnp.broadcast_to(array.reshape(shape), (*batch, *rest))
