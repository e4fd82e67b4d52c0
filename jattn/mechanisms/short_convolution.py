"""A convolution over the last few tokens before any attention, so that what it looks for may lie beside what it reads.

Source: Fu et al., "Hungry Hungry Hippos: Towards Language Modeling with State Space Models", ICLR 2023,
arXiv:2212.14052, section 3.1 (the shift); Yang et al., "Parallelizing Linear Transformers with the Delta Rule over
Sequence Length", NeurIPS 2024, arXiv:2406.06484 (of queries, keys and values, each channel by itself, four tokens).
Departs: it starts as the identity, and no activation follows, which is a feature's.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.mechanisms import Layout, Mechanism, Split, sides
from jattn.mechanisms.attention import Attention
from jattn.numerics import wide
from jattn.part import Attended, Dims, Place, Rng, part, scope
from jattn.parts.masks.causal import Causal
from jattn.parts.positions import Unturned


class Recent(NamedTuple):
    """What decoding carries: the last tokens, which of them are valid, their segments, and what the attention does."""

    vectors: tuple[Float[Array, "n h d"], Float[Array, "n g d"], Float[Array, "n j e"]]
    valid: Bool[Array, " n"]
    segment: Int[Array, " n"]
    inner: Any


@part
class ShortConvolution(Mechanism):
    """Queries, keys and values of `size` tokens up to each row's own, weighted channel by channel, and then attention.

    Tokens that are not valid count as 0, and no segment hears the one before it. Queries and keys are of one length.
    """

    inner: Mechanism = Attention(mask=Causal())
    size: int = 4

    def __post_init__(self):
        if self.size < 2:
            raise ValueError(f"ShortConvolution.size must be at least 2 tokens, got {self.size}; the paper's is 4.")

    @property
    def order(self) -> str:
        """That of the attention."""
        return getattr(self.inner, "order", "causal")

    def params(self, rng: Array, dims: Dims) -> dict:
        sizes = {
            "query": (dims.heads, dims.key_width),
            "key": (dims.key_heads, dims.key_width),
            "value": (dims.value_heads, dims.value_width),
        }
        return {name: jnp.zeros((self.size, *each)).at[0].set(1) for name, each in sizes.items()}

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        made = self.inner.project(own["inner"], x)
        return {"inner": made} if made else {}

    def looks_ahead(self, dims: Dims) -> str | None:
        found = self.inner.looks_ahead(dims)
        return found and f"inner.{found}"

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Recent:
        held, dtype = self.size - 1, jnp.dtype(dtype)
        return Recent(
            (
                jnp.zeros((held, dims.heads, dims.key_width), dtype),
                jnp.zeros((held, dims.key_heads, dims.key_width), dtype),
                jnp.zeros((held, dims.value_heads, dims.value_width), dtype),
            ),
            jnp.zeros(held, bool),
            jnp.full(held, -1, jnp.int32),
            self.inner.state(dims, dtype, own["inner"], extra),
        )

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Recent | None) -> Attended:
        if len(split.query) != len(split.key):
            raise ValueError(
                f"ShortConvolution goes along one line of tokens, got {len(split.query)} queries and {len(split.key)} "
                f"keys; convolve self-attention."
            )
        query, key, place = sides.both(Unturned(), {}, split, layout, 0, None)
        tokens = len(split.key)
        valid = jnp.ones(tokens, bool) if key.valid is None else key.valid
        segment = jnp.zeros(tokens, jnp.int32) if key.segment is None else jnp.asarray(key.segment, jnp.int32)
        vectors = query.vector, key.vector, split.value
        if state is None:
            state = Recent(
                tuple(jnp.zeros((self.size - 1, *x.shape[1:]), x.dtype) for x in vectors),
                jnp.zeros(self.size - 1, bool),
                jnp.full(self.size - 1, -1, jnp.int32),
                None,
            )
        valid, segment = jnp.concatenate([state.valid, valid]), jnp.concatenate([state.segment, segment])
        lines = tuple(jnp.concatenate(each) for each in zip(state.vectors, vectors, strict=True))
        heard = _heard(valid, segment, self.size)
        convolved = [
            convolution(line, own[name][:, _numbers(place, line.shape[1], own[name].shape[1])], heard)
            for name, line in zip(("query", "key", "value"), lines, strict=True)
        ]
        layout = layout._replace(extra=_inner(layout.extra))
        split = split._replace(**dict(zip(("query", "key", "value"), convolved, strict=True)))
        found = self.inner.apply(own["inner"], split._replace(extra=_inner(split.extra)), layout, rng, state.inner)
        if state.inner is None:
            return found
        last = tuple(line[tokens:] for line in lines)
        return found._replace(state=Recent(last, valid[tokens:], segment[tokens:], found.state))


def convolution(
    line: Float[Array, "n+c h d"], kernel: Float[Array, "c h d"], heard: Bool[Array, "c n"]
) -> Float[Array, "n h d"]:
    """Sums over the tokens that rows hear, by how far these are behind them; `line` begins with earlier tokens."""
    size, rows = heard.shape
    kind = wide(line.dtype)
    out = jnp.zeros((rows, *line.shape[1:]), kind)
    for back in range(size):
        token = line[size - 1 - back : size - 1 - back + rows]
        # a weight of 0 times a padded NaN is NaN
        token = jnp.where(heard[back][:, None, None], token, 0).astype(kind)
        out += kernel[back][None].astype(kind) * token
    return out.astype(line.dtype)


def _heard(valid: Bool[Array, " m"], segment: Int[Array, " m"], size: int) -> Bool[Array, "c n"]:
    """Which rows hear the token so far behind them: one that is valid, with no border between."""
    run, rows = jnp.cumsum(segment[1:] != segment[:-1]), len(segment) - size + 1
    run = jnp.concatenate([jnp.zeros(1, run.dtype), run])
    ends = [size - 1 - back for back in range(size)]
    return jnp.stack([valid[end : end + rows] & (run[end : end + rows] == run[size - 1 :]) for end in ends])


def _numbers(place: Place, heads: int, total: int) -> Int[Array, " heads"]:
    """The numbers of the heads at hand, each once, of a side that has so many in all."""
    head = jnp.asarray(place.head)
    return head[:: len(head) // heads] * total // place.heads


def _inner(extra: Any) -> Any:
    if isinstance(extra, tuple):
        return tuple(_inner(each) for each in extra)
    return scope(extra, "inner") if extra else extra
