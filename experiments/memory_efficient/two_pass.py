"""Attention in chunks of queries and keys, whose summaries are kept and put together at the end: the paper's own form.

Source: Rabe and Staats, "Self-attention Does Not Need O(n^2) Memory", 2021, arXiv:2112.05682, Figure 1.
Departs: lengths that are no multiple of their chunk are refused, where the paper's clamped slices count keys twice.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import wide

QUERY_CHUNK, KEY_CHUNK = 1024, 4096


def two_pass(
    q: Float[Array, "t h d"],
    k: Float[Array, "s h d"],
    v: Float[Array, "s h e"],
    query_chunk: int = QUERY_CHUNK,
    key_chunk: int = KEY_CHUNK,
) -> Float[Array, "t h e"]:
    """Softmax attention with at least float32 logits, sums and output, whatever the inputs, as the authors ran it."""
    keys, values = (_cut("Keys", x, key_chunk) for x in (k, v))
    out = lax.map(lambda rows: _rows(rows, keys, values), _cut("Queries", q, query_chunk))
    return out.reshape(len(q), *out.shape[2:])


def _rows(q: Float[Array, "c h d"], keys: Float[Array, "n k h d"], values: Float[Array, "n k h e"]) -> Array:
    scaled = q.astype(wide(q.dtype)) * q.shape[-1] ** -0.5
    tops, masses, sums = lax.map(lambda chunk: _summary(scaled, *chunk), (keys, values))
    factors = jnp.exp(tops - tops.max(0, keepdims=True))
    return (factors[..., None] * sums).sum(0) / (factors * masses).sum(0)[..., None]


# logits are computed again in the backward pass; in a loop nothing could be shared with the forward anyway
@functools.partial(jax.checkpoint, prevent_cse=False)
def _summary(q: Float[Array, "c h d"], k: Float[Array, "k h d"], v: Float[Array, "k h e"]) -> tuple:
    logits = jnp.einsum("chd,khd->chk", q, k.astype(q.dtype))
    # a shift cancels between sums and masses, so it needs no gradient
    tops = lax.stop_gradient(logits.max(-1))
    weights = jnp.exp(logits - tops[..., None])
    return tops, weights.sum(-1), jnp.einsum("chk,khe->che", weights, v.astype(q.dtype))


def _cut(name: str, x: Array, chunk: int) -> Array:
    chunk = min(chunk, len(x))
    if len(x) % chunk:
        raise ValueError(f"{name} are a multiple of their chunk, got {len(x)} in chunks of {chunk}; use a divisor.")
    return x.reshape(-1, chunk, *x.shape[1:])
