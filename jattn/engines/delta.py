"""The delta rule: each key replaces what the state holds for it, in part, where linear attention adds to it.

Source: Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021,
arXiv:2102.11174, section 4.2; Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over
Sequence Length", NeurIPS 2024, arXiv:2406.06484, section 3 (chunks: the WY form of products of I - beta k k^T).
Departs: the triangular matrix of a chunk is inverted by halves, in as many products as its size has binary digits,
where the paper goes row by row.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jattn import engines
from jattn.engines import chunks, varying
from jattn.numerics import wide
from jattn.part import Attended, Place, Side, part, scope
from jattn.parts.features import Feature

# tokens of a chunk
CHUNK = 64
# under the root of a length, as in the paper's code
LEAST_SQUARE = 1e-6


@part
class Rule:
    """What an engine is told: the features, which are brought to length 1, so that no state grows without bound."""

    feature: Feature

    def __post_init__(self):
        if self.feature.block:
            raise ValueError(
                f"The delta rule replaces what features find, got {type(self.feature).__name__}, whose blocks of "
                f"{self.feature.block} tokens have weights that are no products of features; take another."
            )


class State(NamedTuple):
    """What decoding carries, of one size however many tokens were seen: one matrix a head, of one segment's tokens."""

    total: Float[Array, "*h e f"]
    visible: Int[Array, ""]
    segment: Int[Array, ""]


class _Tokens(NamedTuple):
    """Some tokens of one matrix, mapped: queries of the heads that share it, and the share that a key replaces."""

    query: Float[Array, "r c f"]
    key: Float[Array, "c f"]
    share: Float[Array, " c"]
    value: Float[Array, "c e"]


def start(rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place) -> State:
    """The state before the first token; of the sides, shapes alone are read."""
    made = jax.eval_shape(lambda: _mapped(rule, own, place, *chunks.even(query, key, value, 1)))
    (heads, _, features), width = made.key.shape, value.shape[-1]
    total = jnp.zeros((heads, width, features), made.key.dtype)
    return State(total, jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))


def attend(
    rule: Rule,
    own: dict,
    query: Side,
    key: Side,
    value: Float[Array, "s j e"],
    place: Place,
    state: State | None = None,
    chunk: int | None = None,
) -> tuple[Attended, State]:
    """Attention of one example behind what `state` holds, and the state after the last key, in linear memory.

    Sides hold `vector` as "n h d", and that of keys `beta` "n #g" in `extra`. Rows see the keys up to their own and
    have no weights, so that of the statistics only `visible` is there. A segment ends where the next begins. Raises
    ValueError where heads do not divide, and where `beta` is not there.
    """
    first, tokens = start(rule, own, query, key, value, place), max(len(query.vector), len(key.vector), 1)
    if state is not None and state.total.shape != first.total.shape:
        raise ValueError(
            f"What earlier tokens left has the heads, width of values and features {first.total.shape} of this call, "
            f"got a state of {state.total.shape}; go on with the features and sizes that it began with."
        )
    cut = chunks.cut(query, key, value, min(chunk or CHUNK, tokens))
    state = varying.alike(first if state is None else state, (own, cut, place))

    @chunks.recomputed
    def step(state, cut):
        made, seen = _mapped(rule, own, place, *cut), chunks.reach(state.segment, cut[1])
        total, out = jax.vmap(functools.partial(_one, seen))(made, state.total)
        later = State(total, *chunks.left(state.visible, state.segment, seen, cut[1]))
        return later, (chunks.by_token(out), chunks.visible(state.visible, seen))

    state, (out, visible) = lax.scan(step, state, cut)
    return chunks.attended(out, visible, query, value), state


def unit(x: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
    """Vectors of length 1, and shorter ones where they were hardly longer than 0."""
    return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + LEAST_SQUARE)


def inverse(lower: Float[Array, "c c"]) -> Float[Array, "c c"]:
    """The inverse of 1 plus a matrix that is 0 on its diagonal and above."""
    # products of blocks, where a solve would be a call out of the compiled program, row by row
    size, half = 1 << (len(lower) - 1).bit_length(), 1
    padded = jnp.pad(lower, (0, size - len(lower)))
    blocks = jnp.ones((size, 1, 1), lower.dtype)
    while half < size:
        pair = jnp.arange(size // (2 * half))
        below = padded.reshape(len(pair), 2 * half, len(pair), 2 * half)[pair, half:, pair, :half]
        first, last = blocks[::2], blocks[1::2]
        upper = jnp.concatenate([first, jnp.zeros_like(first)], 2)
        blocks = jnp.concatenate([upper, jnp.concatenate([-last @ below @ first, last], 2)], 1)
        half *= 2
    return blocks[0, : len(lower), : len(lower)]


def _mapped(rule: Rule, own: dict, place: Place, query: Side, key: Side, value: Float[Array, "c j e"]) -> _Tokens:
    """Features of some tokens, heads first, in at least float32."""
    heads, key_heads, value_heads = query.vector.shape[1], key.vector.shape[1], value.shape[1]
    engines.share(heads, key_heads, value_heads)
    if "beta" not in key.extra:
        raise ValueError(
            "The delta rule reads how much of what a key finds it replaces, got no 'beta' in the layout's extra; use "
            "jattn.delta_attention, or jattn.nn.MultiHead, which makes it of the layer's input."
        )
    share = key.extra["beta"].astype(wide(value.dtype))
    if share.ndim != 2 or share.shape[1] < 1 or place.key_heads % share.shape[1]:
        raise ValueError(
            f"The delta rule's beta has one number for a token, or one for each of its {place.key_heads} key heads, "
            f"got the shape {share.shape}; give it as 'n #g'."
        )
    # heads that share keys and values share a matrix
    groups = key_heads if key_heads == value_heads else heads
    # of each group the first head tells which number is its own
    first = jnp.asarray(place.head)[:: heads // groups]
    share = share[:, first * share.shape[1] // place.heads]
    query, key = (side._replace(vector=side.vector.astype(wide(side.vector.dtype))) for side in (query, key))
    # a factor on all features of a token does not change where they point
    asked, held = (
        unit(rule.feature.map(own["feature"], _scoped(side), role, place)[0] + rule.feature.floor)
        for side, role in ((query, "query"), (key, "key"))
    )

    def spread(x):
        return jnp.moveaxis(jnp.repeat(x, groups // x.shape[1], axis=1), 1, 0)

    asked = asked.reshape(len(asked), groups, heads // groups, asked.shape[-1])
    share = jnp.where(key.valid[:, None], share, 0).T
    return _Tokens(jnp.moveaxis(asked, 0, 2), spread(held), share, spread(value.astype(wide(value.dtype))))


def _scoped(side: Side) -> Side:
    return side._replace(extra=scope(side.extra, "feature"))


def _one(seen: chunks.Seen, made: _Tokens, total: Float[Array, "e f"]) -> tuple[Array, Float[Array, "r c e"]]:
    """The matrix of some heads after a chunk, and their rows."""
    past = jnp.where(seen.before[:, None], 1, 0).astype(total.dtype)
    # what a key writes is its value without what it finds, of which other keys of the chunk wrote some
    found = jnp.tril(made.key @ made.key.T, -1) * seen.pairs
    new = made.share[:, None] * (made.value - past * (made.key @ total.T))
    written = inverse(made.share[:, None] * found) @ new
    near = jnp.einsum("rtf,sf->rts", made.query, made.key) * seen.pairs[None]
    out = near @ written + past[None] * (made.query @ total.T)
    kept = jnp.where(seen.before[-1], total, 0)
    return kept + jnp.where(seen.after[:, None], written, 0).T @ made.key, out
