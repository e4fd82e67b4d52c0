"""How it is computed: the only loops. This file holds what they share, one tile of pairs."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, UInt32

from jattn.numerics import wide
from jattn.part import Part, Place, Side, Tile, part, scope
from jattn.parts.masks import Full, Mask
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.softmax import Softmax
from jattn.parts.scores import Score


@part
class Rule:
    """What an engine is told: logits = scale q.k, then scores in order, bias, mask, normalizer, dropout of weights."""

    scale: float
    score: tuple[Score, ...] = ()
    mask: Mask = Full()
    normalizer: Normalizer = Softmax()
    dropout: float = 0.0

    def reads_visible(self) -> bool:
        """Whether any part wants to know how many keys its row sees."""
        return any(p.visible for p in (*self.score, self.mask, self.normalizer))


class Pairs(NamedTuple):
    """Data of pairs: a mask and a bias, each "#h #t #s", and the words that `engines.dropout` hashes; or None."""

    mask: Bool[Array, "#h #t #s"] | None = None
    bias: Float[Array, "#h #t #s"] | None = None
    noise: UInt32[Array, " 2"] | None = None


def share(heads: int, key_heads: int, value_heads: int) -> int:
    """The least number of query heads that use whole key heads and whole value heads."""
    for name, count in (("key", key_heads), ("value", value_heads)):
        if count < 1 or heads % count:
            raise ValueError(
                f"Query heads come in equal groups, one a {name} head, got {heads} query heads and {count} {name} "
                f"heads; make the first a multiple of the second."
            )
    return math.lcm(heads // key_heads, heads // value_heads)


def spread(leaf: Array, start, count: int, heads: int) -> Array:
    """Per-token values "n #heads ..." as "#h n ..." for `count` query heads from `start` out of `heads`."""
    leaf = jnp.moveaxis(leaf, 1, 0)
    if leaf.shape[0] in (1, count) and (leaf.shape[0] == 1 or count == heads):
        return leaf
    return leaf[(start + jnp.arange(count)) // (heads // leaf.shape[0])]


def logits(rule: Rule, own: dict, tile: Tile, bias: Float[Array, "#h #t #s"] | None) -> Float[Array, "h t s"]:
    """Scale, scores and bias for one tile, in at least float32. `tile.key.vector` is "g s d", not repeated."""
    query, key = tile.query.vector, tile.key.vector
    of_rows, of_pairs = scales(rule.scale, query.dtype)
    return scored(rule, own, tile, products(query * of_rows, key) * of_pairs, bias)


def scales(scale: float, dtype: DTypeLike) -> tuple[float, float]:
    """What queries are to be times and what their products with keys: a tile has fewer rows than pairs, but queries of
    a narrow dtype would round."""
    return (scale, 1.0) if dtype == wide(dtype) else (1.0, scale)


def products(query: Float[Array, "h t d"], key: Float[Array, "g s d"]) -> Float[Array, "h t s"]:
    """Every query times every key of its head, in at least float32."""
    raw = jnp.einsum("gtd,gsd->gts", folded(query, key.shape[0]), key, preferred_element_type=wide(query.dtype))
    return raw.reshape(*query.shape[:2], key.shape[1])


def folded(rows: Float[Array, "h t n"], groups: int) -> Float[Array, "g r n"]:
    """Heads that share a key or value head as more rows of one head: nothing is repeated."""
    heads, length, width = rows.shape
    return rows.reshape(groups, heads // groups * length, width)


def scored(
    rule: Rule, own: dict, tile: Tile, found: Float[Array, "h t s"], bias: Float[Array, "#h #t #s"] | None
) -> Float[Array, "h t s"]:
    """The logits after scores and bias."""
    if rule.score:
        key = tile.key.vector
        repeated = tile.key._replace(vector=jnp.repeat(key, found.shape[0] // key.shape[0], axis=0))
        for part_, path, own_ in _numbered(rule, own):
            shown = _scoped(tile._replace(key=repeated), path, part_.visible)
            found = _like(found, part_, "pairs", part_.pairs(own_, found, shown))
    return found if bias is None else found + bias.astype(found.dtype)


def seen(rule: Rule, own: dict, tile: Tile, mask: Bool[Array, "#h #t #s"] | None) -> Bool[Array, "#h t s"]:
    """Which pairs of one tile see each other: the mask, and beside it segments, validity and the caller's array."""
    found = rule.mask.pairs(own["mask"], _scoped(tile, "mask", rule.mask.visible))
    heads, sizes = len(tile.place.head), (len(tile.query.position), len(tile.key.position))
    if found.shape not in ((1, *sizes), (heads, *sizes)) or found.dtype != bool:
        raise ValueError(
            f"{type(rule.mask).__name__}.pairs says True or False of each pair of a tile, in the shape "
            f"{(heads, *sizes)} or {(1, *sizes)}, got {found.dtype} of shape {found.shape}; compare positions along "
            f"both axes."
        )
    if tile.query.segment is not None:
        found &= (tile.query.segment[:, None] == tile.key.segment[None, :])[None]
    if tile.query.valid is not None:
        found &= tile.query.valid[None, :, None]
    if tile.key.valid is not None:
        found &= tile.key.valid[None, None, :]
    return found if mask is None else found & mask


def weights(
    normalizer: Normalizer,
    own: dict,
    logits: Float[Array, "h t s"],
    z: Float[Array, "h t 1"],
    seen: Bool[Array, "#h t s"],
    tile: Tile,
) -> Float[Array, "h t s"]:
    """The normalizer's weights, in the dtype of the logits."""
    return _like(logits, normalizer, "weights", normalizer.weights(own, logits, z, seen, tile))


def level(
    normalizer: Normalizer, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
) -> Float[Array, "h t s"]:
    """The normalizer's level, in the dtype of the logits."""
    return _like(logits, normalizer, "level", normalizer.level(own, logits, seen, tile))


def begin(normalizer: Normalizer, own: dict, top: Float[Array, "h t"], tile: Tile) -> Float[Array, "h t"]:
    """Where the normalizer starts to look for its threshold, in the dtype of the logits."""
    return _like(top, normalizer, "begin", normalizer.begin(own, top, tile._replace(key=None)))


def null(normalizer: Normalizer, own: dict, tile: Tile, width: int) -> tuple[Array, Array | None] | None:
    """The normalizer's level and value of one more key, if it has one; no value where values have no width."""
    found = normalizer.null(own, tile._replace(key=None))
    if found is None:
        return None
    level, value = found
    if value is not None and width and value.shape[-1] != width:
        raise ValueError(
            f"{type(normalizer).__name__}.null gives a value of the width of the others, {width}, got "
            f"{value.shape[-1]}; make variables for this call's values."
        )
    return level, value if width else None


def _like(before: Array, made_by: Part, method: str, found: Array) -> Array:
    """What a part made of numbers, one for each, in their dtype: that of learned arrays may be wider."""
    if found.shape != before.shape:
        raise ValueError(
            f"{type(made_by).__name__}.{method} gives one number for each that it gets, of shape {before.shape}, got "
            f"{found.shape}; change the values alone."
        )
    return found.astype(before.dtype)


def normalizer_tile(rule: Rule, tile: Tile) -> Tile:
    """The tile as the normalizer may see it."""
    return _scoped(tile, "normalizer", rule.normalizer.visible)


def _numbered(rule: Rule, own: dict) -> Iterator[tuple[Score, str, dict]]:
    for number, score in enumerate(rule.score):
        yield score, f"score/{number}", own["score"][str(number)]


def _scoped(tile: Tile, path: str, visible: bool) -> Tile:
    key = None if tile.key is None else tile.key._replace(extra=scope(tile.key.extra, path))
    return tile._replace(
        query=tile.query._replace(extra=scope(tile.query.extra, path)),
        key=key,
        visible=tile.visible if visible else None,
    )


def in_tile(side: Side, start, count: int, heads: int) -> Side:
    """A side whose vector is "n h d" as the engines show it in a tile, for `count` heads from `start`."""
    extra = jax.tree.map(lambda leaf: spread(leaf, start, count, heads), side.extra)
    return side._replace(vector=jnp.moveaxis(side.vector, 1, 0), extra=extra)


def whole_tile(query: Side, key: Side, place: Place) -> Tile:
    """All pairs as one tile."""
    heads = query.vector.shape[1]
    query, key = jax.tree.map(jnp.asarray, (query, key))
    return Tile(in_tile(query, 0, heads, heads), in_tile(key, 0, heads, heads), place)


def prepared(attend: Callable, rule: Rule, own: dict, query: Side, key: Side, value: Array, place: Place, pairs: Pairs):
    """The query side with what the normalizer's `prepare` gives, by passes of the engine whose `attend` this is."""
    plain = dataclasses.replace(rule, dropout=0.0)

    def run(normalizer: Normalizer, own_: dict | None = None, extra: dict | None = None):
        other = dataclasses.replace(plain, normalizer=normalizer)
        rows = query._replace(extra=query.extra | {"normalizer": extra or {}})
        return attend(other, own | {"normalizer": own_ or {}}, rows, key, value[..., :0], place, pairs)

    found = rule.normalizer.prepare(own["normalizer"], run)
    return query._replace(extra=query.extra | {"normalizer": found}) if found else query
