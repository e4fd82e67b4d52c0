"""Scores, a mask, a normalizer and positions on an engine: the ordinary mechanism, and the call that batches it.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.engines import Pairs, Rule, dense, dropout, ring, tiled, tiles, varying, visits
from jattn.mechanisms import Layout, Mechanism, Split, ahead, checks, mesh, sides
from jattn.numerics import wide
from jattn.part import Attended, Dims, Part, Rng, Side, Variables, part, scope
from jattn.parts.caches import Cache, Kept
from jattn.parts.caches.whole import Whole
from jattn.parts.masks import Full, Mask
from jattn.parts.masks.function import Function as MaskFunction
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.softmax import Softmax
from jattn.parts.positions import Position, Unturned
from jattn.parts.scores import Score
from jattn.parts.scores.function import Function as ScoreFunction

# from this length on a loop over the batch is faster than a batch of tiles; measured on CPU
MAP_FROM = visits.STEERED_FROM
ENGINES = {"tiled": tiled, "dense": dense}
# the fields of a layout that may carry batch axes
DATA = ("positions", "segments", "valid", "mask", "bias", "extra")


@part
class Attention(Mechanism):
    """One score or several in order; `scale=None` is 1/sqrt of the query width as the positions leave it.

    A plain function of one pair serves as a score, `f(logit, batch, head, query, key)`, or as a mask, `g(batch, head,
    query, key)`; gradients flow to the arrays that it closes over.

    `dropout` is the probability that a weight becomes 0, the others growing to keep the mean; it acts iff a key is
    given, after mask and statistics, and never on a null slot.

    `cache` is what decoding keeps: all tokens, or `Recent` ones where the mask lets no row look farther back.

    `context_axis` names the axis of a mesh over which the tokens of both sides are split evenly and in order, by the
    caller's own `jax.shard_map` or, in a plain call, by `attend` on the mesh that `jax.set_mesh` set. Keys then go
    round a ring of devices, or, where a row needs all of them at once (thresholds, `TopK`, scores that sum over
    positions, the dense implementation), are gathered on each.

    `implementation` is "tiled", or "dense" for forward mode and derivatives of any order, in memory that grows with
    queries times keys.
    """

    score: Score | Callable | tuple[Score | Callable, ...] = ()
    mask: Mask | Callable = Full()
    normalizer: Normalizer = Softmax()
    position: Position = Unturned()
    scale: float | None = None
    dropout: float = 0.0
    cache: Cache = Whole()
    implementation: Literal["tiled", "dense"] = "tiled"
    context_axis: str | None = None

    def __post_init__(self):
        scores = self.score if isinstance(self.score, tuple | list) else (self.score,)
        object.__setattr__(self, "score", tuple(_made(score, ScoreFunction) for score in scores))
        object.__setattr__(self, "mask", _made(self.mask, MaskFunction))
        slots = (("mask", Mask), ("normalizer", Normalizer), ("position", Position))
        held = [(name, getattr(self, name), slot) for name, slot in slots]
        for name, thing, slot in held + [("score", score, Score) for score in self.score]:
            if not isinstance(thing, slot):
                data = "arrays go in as data: attend(..., layout=jattn.Layout(mask=...))"
                cure = data if hasattr(thing, "shape") else f"build one of those in jattn.{name}s"
                raise TypeError(
                    f"Attention.{name} must be a part of the slot {slot.__name__}, got {checks.kind(thing)}; {cure}."
                )

        checks.axis(self)
        for name, rule, fits, left_out in (
            ("scale", "a finite number or None", lambda x: x is None or math.isfinite(x), "1/sqrt of the width"),
            ("dropout", "a probability in [0, 1)", lambda x: 0 <= x < 1, "none"),
            ("implementation", " or ".join(repr(name) for name in ENGINES), lambda x: x in ENGINES, "'tiled'"),
        ):
            if not fits(getattr(self, name)):
                raise ValueError(
                    f"Attention.{name} must be {rule}, got {getattr(self, name)!r}; leave it out for {left_out}."
                )

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        made = {str(n): score.project(own["score"][str(n)], x) for n, score in enumerate(self.score)}
        made = {number: arrays for number, arrays in made.items() if arrays}
        return {"score": made} if made else {}

    def looks_ahead(self, dims: Dims) -> str | None:
        return "mask causal" if ahead.sees_later(self.mask, dims) else None

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Kept:
        checks.looks_back(self.score, self.mask, self.cache, dims)
        made = {}
        if dims.model_width is not None:
            x = jax.ShapeDtypeStruct((1, dims.model_width), dtype)
            made = jax.eval_shape(lambda x: self.project(own, x), x)
        return self.cache.start(dims, dtype, {**(extra or {}), **made})

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Kept | None) -> Attended:
        if self.context_axis is not None and state is not None:
            raise ValueError(
                f"Attention over the axis {self.context_axis!r} keeps no decoding state, got one; decode with "
                f"context_axis=None."
            )
        arguments, state = self.arguments(own, split, layout, rng, state)
        if self.context_axis is not None and not self._gathers():
            return ring.attend(*arguments, axis=self.context_axis)
        found = ENGINES[self.implementation].attend(*arguments)._replace(state=state)
        # traced, a full cache cannot refuse; it must not answer either
        overflown = None if state is None else self.cache.overflown(state)
        if overflown is None:
            return found
        return found._replace(out=jnp.where(overflown, jnp.nan, found.out).astype(found.out.dtype))

    def weights(
        self, own: dict, split: Split, layout: Layout, rng: Rng | None, rows: Int[np.ndarray, " r"]
    ) -> Float[Array, "h r s"]:
        # scores see all queries
        rule, own, query, key, _, place, pairs = self.arguments(own, split, layout, rng, None)[0]
        some = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], query._replace(length=None))
        pairs = pairs._replace(**{name: _of_rows(getattr(pairs, name), rows) for name in ("mask", "bias")})
        return dense.weights(rule, own, some._replace(length=query.length), key, place, pairs)

    def arguments(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Kept | None) -> tuple:
        """What an engine's `attend` takes for one example, and the state after it."""
        held = 0 if state is None else state.length
        query, key, place = sides.both(self.position, own["position"], split, layout, held, self.context_axis)
        scale = self.scale if self.scale is not None else query.vector.shape[-1] ** -0.5
        value = split.value
        if self.context_axis is not None and self._gathers():
            key, value = ring.gathered((key, value), self.context_axis)
        if state is not None:
            shown = self.cache.append(state, key, value)
            key, value, state = self.cache.view(shown, key), shown.value, self.cache.settled(shown)
        query, key = sides.emptied(query), sides.emptied(key)
        if key.valid is not None:
            value = jnp.where(key.valid[:, None, None], value, 0)
        for number, score in enumerate(self.score):
            path = f"score/{number}"
            before = [_into(side, path) for side in (query, key)]
            if type(score).project is not Score.project and not all(side.extra for side in before):
                raise ValueError(
                    f"{type(score).__name__} reads what attention.project(own, x) makes of the layer's input, got "
                    f"none; pass Layout(extra=...) of it, or use jattn.nn.MultiHead."
                )
            after = score.tokens(own["score"][str(number)], *before, place, rng)
            checks.tokens(score, before, after)
            query, key = (_out_of(side, new, path) for side, new in zip((query, key), after, strict=True))
        keys = key.vector.shape[0]
        if self.context_axis is not None and not self._gathers():
            keys *= lax.axis_size(self.context_axis)
        checks.distances(self.score, self.mask, query, key, keys, place)
        checks.pairs(layout, (query.vector.shape[1], query.vector.shape[0], keys))
        noise = dropout.words(rng) if self.dropout and rng is not None else None
        rule = Rule(scale, self.score, self.mask, self.normalizer, self.dropout if noise is not None else 0.0)
        given = own, query, key, value, place, Pairs(layout.mask, layout.bias, noise)
        return (rule, *varying.alike(given, given)), state

    def _gathers(self) -> bool:
        """Whether keys of all devices are needed at once."""
        mixes, normalizer = any(score.mixes for score in self.score), self.normalizer
        # devices of a ring must take as many turns
        return self.implementation != "tiled" or normalizer.kind == "threshold" or normalizer.loops or mixes


def _of_rows(array: Array | None, rows: np.ndarray) -> Array | None:
    return array if array is None or array.shape[1] == 1 else array[:, rows]


def _made(thing: Any, kind: type) -> Any:
    return kind(thing) if callable(thing) and not isinstance(thing, Part | type) else thing


def _into(side: Side, path: str) -> Side:
    return side._replace(extra=scope(side.extra, path))


def _out_of(side: Side, new: Side, path: str) -> Side:
    flat = {name for name, leaf in side.extra.items() if not isinstance(leaf, dict)}
    own = {name: leaf for name, leaf in new.extra.items() if name not in flat}
    first, last = path.split("/")
    branch = {**side.extra.get(first, {}), last: own}
    return new._replace(extra={**side.extra, first: branch} if own else side.extra)


def attend(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    attention: Mechanism = Attention(),
    *,
    variables: Variables | None = None,
    rng: Array | Rng | None = None,
    layout: Layout | None = None,
    state: Any = None,
) -> Attended:
    """Attends over any leading batch axes: `out` "... t h e", statistics float32 (float64 stays) "... t h".

    `layout` is the data of the call. `mask` and `bias` have all of the axes heads, queries, keys, each whole or 1;
    positions, segments and a boolean `valid` one value a token; an integer `valid` is a length, and counts as 0 below
    that and as all tokens beyond. Each is shared by the batch, or has its axes in front; `extra` always has. With
    `state` the tokens are new ones behind those it holds. `variables` are those of `attention.init`; what acts only in
    training, as dropout does, acts iff the key `rng` is given. Raises ValueError for shapes that do not fit, TypeError
    for a wrong kind or dtype, KeyError for an array that the variables lack.
    """
    layout = Layout() if layout is None else layout
    checks.kinds(attention, layout, variables, rng)
    checks.arrays(query, key, value, layout)
    checks.decays(attention, layout)
    batch = query.shape[:-3]
    if isinstance(state, Kept) and isinstance(attention, Attention):
        checks.held(state, key, value)
        attention.cache.check(state, key.shape[-3])
    own = attention.own(variables)
    checks.variables(attention, own, _dims(query, key, value, layout))
    closed, held = attention.closed(own, wide(query.dtype))
    if state is None and (cut := mesh.cut_of(query, getattr(attention, "context_axis", None))):
        mesh.check_closures(own, held)
        with mesh.untyped():
            closed, held = attention.closed(own, wide(query.dtype))
        return mesh.attend(attend, closed, (query, key, value), held, rng, layout, cut)
    attention, own = closed, held
    size = int(np.prod(batch)) if batch else 1
    if not batch:
        return attention.apply(own, Split(query, key, value), layout, _rng(rng, None), state)
    query, key, value = (x.reshape(size, *x.shape[-3:]) for x in (query, key, value))
    flat, axes = _batched(layout, batch, size)
    state = jax.tree.map(lambda x: x.reshape(size, *x.shape[len(batch) :]), state)

    def one(example):
        query, key, value, data, state, place, number = example
        merged = _filled(flat, data, axes)
        return attention.apply(own, Split(query, key, value, example=number), merged, _rng(rng, place), state)

    data = [leaf for leaf, axis in zip(jax.tree.leaves(_data(flat)), axes, strict=True) if axis]
    places = jnp.arange(size)
    numbers = places if layout.example is None else jnp.reshape(layout.example, size)
    examples = (query, key, value, data, state, places, numbers)
    found = _over(one, size, (query.shape[2], query.shape[1], key.shape[1]))(examples)
    seen = jax.tree.map(lambda x: x.sum(0), found.stats.observed)
    found = found._replace(stats=found.stats._replace(observed={}))
    found = jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), found)
    return found._replace(stats=found.stats._replace(observed=seen))


def _dims(query: Array, key: Array, value: Array, layout: Layout) -> Dims:
    """The sizes that arrays of parts are made for: of all heads, where the call holds some."""
    here = Dims.of(query, key, value)
    if layout.head is None:
        return here
    _, heads, key_heads = layout.head
    value_heads = here.value_heads * heads // here.heads
    return dataclasses.replace(here, heads=heads, key_heads=key_heads, value_heads=value_heads)


def _over(one: Callable, size: int, pairs: tuple[int, int, int]) -> Callable:
    """`one` over a batch whose examples have so many heads, queries and keys: at once, or a few after the other."""
    if max(pairs[1:]) < MAP_FROM:
        return jax.vmap(one)
    fit = tiles.sizes().slim_pairs // (pairs[0] * math.prod(tiles.tile_sizes(*pairs[1:])))
    together = max((n for n in range(1, size + 1) if size % n == 0 and n <= max(1, fit)), default=1)
    return functools.partial(lax.map, one, batch_size=together if together > 1 else None)


def _rng(rng: Array | Rng | None, example: Any) -> Rng | None:
    if rng is None:
        return None
    if isinstance(rng, Rng):
        return rng if example is None else rng._replace(example=rng.example[example])
    return Rng(rng, rng, jax.random.fold_in(rng, 0 if example is None else example))


def _data(layout: Layout) -> tuple:
    return tuple(getattr(layout, name) for name in DATA)


def _batched(layout: Layout, batch: tuple, size: int) -> tuple[Layout, list]:
    """The layout with its batch axes made one, and for each leaf of its data whether it has that axis."""
    lead = len(batch)

    def flatten(leaf, rank):
        if jnp.ndim(leaf) < rank + lead:
            return leaf, False
        if leaf.shape[:lead] != batch:
            raise ValueError(
                f"Data of a call are shared by the batch or carry its axes {batch}, got shape {leaf.shape}; reshape or "
                f"broadcast them."
            )
        return leaf.reshape(size, *leaf.shape[lead:]), True

    def valid_rank(leaf):
        return 1 if leaf.dtype == bool else 0

    ranks = (lambda _: 1, lambda _: 1, valid_rank, lambda _: 3, lambda _: 3, lambda _: 0)
    done, axes = [], []
    for held, rank in zip(_data(layout), ranks, strict=True):
        leaves, tree = jax.tree.flatten(held)
        leaves = [leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in leaves]
        pairs = [flatten(leaf, rank(leaf)) for leaf in leaves]
        done.append(jax.tree.unflatten(tree, [leaf for leaf, _ in pairs]))
        axes += [axis for _, axis in pairs]
    return layout._replace(**dict(zip(DATA, done, strict=True))), axes


def _filled(layout: Layout, data: list, axes: list) -> Layout:
    leaves, tree = jax.tree.flatten(_data(layout))
    mine = iter(data)
    found = jax.tree.unflatten(tree, [next(mine) if axis else leaf for leaf, axis in zip(leaves, axes, strict=True)])
    return layout._replace(**dict(zip(DATA, found, strict=True)))
