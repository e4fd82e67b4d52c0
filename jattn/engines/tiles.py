"""How the arrays of one call are cut into tiles, and which tiles a mask leaves alive."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jattn import engines
from jattn.engines import Rule
from jattn.part import Dims, Place, Side, Span, Tile, part

# pairs a tile holds at once: two heads of 512 x 512 fill the caches of two cores
TILE_ELEMENTS = 2**19
# from this length on segments and valid tokens say which tiles are visited, and a batch is a loop: in a batch of tiles
# bounds that depend on data skip nothing
STEERED_FROM = 512


@part
class Plan:
    """Sizes of one call: tiles of `rows` queries, `columns` keys and `group` heads."""

    rule: Rule
    heads: int
    key_heads: int
    value_heads: int
    length: int
    keys: int
    rows: int
    columns: int
    group: int
    all_heads: int
    all_key_heads: int

    @staticmethod
    def of(rule: Rule, query: Side, key: Side, value: Array, place: Place) -> "Plan":
        length, heads = query.vector.shape[:2]
        keys, key_heads = key.vector.shape[:2]
        least = engines.share(heads, key_heads, value.shape[1])
        width = max((score.width(Dims.of(query.vector, key.vector, value)) for score in rule.score), default=1)
        rows, columns = narrowed(*tile_sizes(length, keys), least, width)
        fit = max(1, TILE_ELEMENTS // (least * rows * columns * width))
        group = least * max(n for n in range(1, heads // least + 1) if n <= fit and (heads // least) % n == 0)
        return Plan(
            rule, heads, key_heads, value.shape[1], length, keys, rows, columns, group, place.heads, place.key_heads
        )

    def counts(self) -> tuple[int, int, int]:
        """How many tiles of queries, tiles of keys and groups of heads there are."""
        return -(-self.length // self.rows), -(-self.keys // self.columns), self.heads // self.group

    def slim(self) -> "Plan":
        """The same with as few heads at once as share a key or value head: as fast backward, in less memory."""
        return dataclasses.replace(self, group=engines.share(self.heads, self.key_heads, self.value_heads))


def tile_sizes(length: int, keys: int) -> tuple[int, int]:
    """How many queries and how many keys a tile holds."""
    # a small length gains more from skipped tiles than it loses to smaller products; measured on CPU
    return tuple(min(n, 128 if n <= 256 else 512) for n in (length, keys))


def narrowed(rows: int, columns: int, heads: int, width: int) -> tuple[int, int]:
    """Sizes at which pairs of `width` values take no more room than a tile may, or pairs of one value would."""
    room = max(TILE_ELEMENTS, heads * rows * columns)
    while heads * rows * columns * width > room and max(rows, columns) > 1:
        rows, columns = (rows, -(-columns // 2)) if columns >= rows else (-(-rows // 2), columns)
    return rows, columns


def start_of(tile, size: int, length: int):
    # the last tile is clamped and computes some rows again; `_fresh` tells which are its own
    return 0 if size == length else jnp.minimum(jnp.asarray(tile * size, jnp.int32), length - size)


def _fresh(tile, size: int, length: int):
    start = start_of(tile, size, length)
    return None if length % size == 0 else start + jnp.arange(size) >= tile * size


def loop(count, body, carry):
    # one turn is no loop: XLA then sees straight code
    return body(0, carry) if isinstance(count, int) and count == 1 else lax.fori_loop(0, count, body, carry)


def cut(array: Array, start, size: int, axis: int = 0) -> Array:
    if size == array.shape[axis]:
        return array
    return lax.dynamic_slice_in_dim(array, jnp.asarray(start, jnp.int32), size, axis)


def paste(whole: Array, piece: Array, starts: tuple) -> Array:
    if piece.shape == whole.shape:
        return piece.astype(whole.dtype)
    return lax.dynamic_update_slice(whole, piece.astype(whole.dtype), [jnp.asarray(s, jnp.int32) for s in starts])


def add(whole: Array, piece: Array, starts: tuple) -> Array:
    if piece.shape == whole.shape:
        return whole + piece
    starts = [jnp.asarray(s, jnp.int32) for s in starts]
    return lax.dynamic_update_slice(whole, lax.dynamic_slice(whole, starts, piece.shape) + piece, starts)


def live_tiles(plan: Plan, query: Side, key: Side, place: Place) -> tuple | None:
    """Of each tile of queries the key tiles that some pair reaches, and how many, by groups of heads; and backward, of
    each tile of keys the query tiles, by the groups of the slim plan.

    None where there is one tile. NumPy where positions and heads are and no data steer.
    """
    row_tiles, column_tiles, _ = plan.counts()
    if row_tiles == column_tiles == 1:
        return None
    sides = ((query, plan.rows, plan.length), (key, plan.columns, plan.keys))
    spans = [_span(side.position, size, length, side.length) for side, size, length in sides]
    rows, columns = (
        Span(*(x[shape] for x in span[:2]), span.length)
        for span, shape in zip(spans, (np.s_[None, :, None], np.s_[None, None, :]), strict=True)
    )
    where = place._replace(head=place.head[:, None, None])
    some, _ = plan.rule.mask.reach(rows, columns, where)
    if max(plan.length, plan.keys) >= STEERED_FROM:
        some = some & _met_by_data(*sides)
    xp = jnp if isinstance(some, jax.Array) else np
    some = xp.broadcast_to(some, (plan.heads, row_tiles, column_tiles))
    forward, backward = (some.reshape(-1, each.group, row_tiles, column_tiles).any(1) for each in (plan, plan.slim()))
    return tuple(
        (xp.argsort(~live, axis=-1, stable=True).astype(np.int32), live.sum(-1).astype(np.int32))
        for live in (forward, backward.swapaxes(1, 2))
    )


def _met_by_data(*sides: tuple[Side, int, int]) -> Bool[Array, "1 i j"] | bool:
    """Whether segments and valid tokens let some pair of two tiles meet, as far as their extremes tell."""
    found = True
    (query, _, _), _ = sides
    if query.segment is not None:
        (q_first, q_last), (k_first, k_last) = (
            _span(jnp.asarray(side.segment), size, length, None)[:2] for side, size, length in sides
        )
        found = (q_first[:, None] <= k_last[None, :]) & (k_first[None, :] <= q_last[:, None])
    for number, (side, size, length) in enumerate(sides):
        if side.valid is not None:
            some = side.valid[_held(size, length)].any(1)
            found = found & (some[:, None] if number == 0 else some[None, :])
    return found if found is True else found[None]


def _held(size: int, length: int) -> Int[np.ndarray, "tiles size"]:
    # the clamped last tile asks for the rows it holds
    starts = np.minimum(np.arange(0, length, size), length - size)
    return starts[:, None] + np.arange(size)


def _span(position: Array | np.ndarray, size: int, length: int, valid_length: Any) -> Span:
    xp = np if isinstance(position, np.ndarray) else jnp
    held = position[_held(size, length)]
    return Span(xp.min(held, 1), xp.max(held, 1), valid_length)


def _side(side: Side, start, size: int, heads: tuple) -> Side:
    """Rows of a side, whose vector becomes "n h d" of some heads; `extra` keeps all heads."""
    first, count = heads
    rows = jax.tree.map(lambda leaf: cut(leaf, start, size), side._replace(length=None))
    return rows._replace(vector=cut(rows.vector, first, count, axis=1), length=side.length)


def pieces(plan: Plan, data: dict, i, j, group) -> tuple[dict, dict]:
    """What tile (i, j) of a group of heads reads: what has gradients, and what has none."""
    head = group * plan.group
    per_key = plan.heads // plan.key_heads
    rows, columns = start_of(i, plan.rows, plan.length), start_of(j, plan.columns, plan.keys)
    query = _side(data["query"], rows, plan.rows, (head, plan.group))
    key = _side(data["key"], columns, plan.columns, (head // per_key, plan.group // per_key))
    smooth = {
        "own": data["own"],
        "q": query.vector,
        "k": key.vector,
        "query extra": query.extra,
        "key extra": key.extra,
        "bias": None if data["bias"] is None else _cut_pairs(plan, data["bias"], head, rows, columns),
    }
    mask = None if data["mask"] is None else _cut_pairs(plan, data["mask"], head, rows, columns)
    visible = data["visible"]
    if visible is not None:
        visible = cut(cut(visible, head, plan.group), rows, plan.rows, axis=1)
    numbers, layer, example = data["place"]
    place = Place(cut(numbers, head, plan.group), plan.all_heads, plan.all_key_heads, layer, example)
    fixed = {"query": query, "key": key, "mask": mask, "visible": visible, "place": place, "head": head}
    return smooth, fixed


def _cut_pairs(plan: Plan, array: Array, head, row, column) -> Array:
    for axis, (start, size) in enumerate(((head, plan.group), (row, plan.rows), (column, plan.columns))):
        if array.shape[axis] > 1:
            array = cut(array, start, size, axis)
    return array


def tile_of(plan: Plan, smooth: dict, fixed: dict) -> Tile:
    query = fixed["query"]._replace(vector=smooth["q"], extra=smooth["query extra"])
    key = fixed["key"]._replace(vector=smooth["k"], extra=smooth["key extra"])
    sides = [engines.in_tile(side, fixed["head"], plan.group, plan.heads) for side in (query, key)]
    return Tile(*sides, fixed["place"], fixed["visible"])


def logits_of(plan: Plan, smooth: dict, fixed: dict) -> Float[Array, "h t s"]:
    return engines.logits(plan.rule, smooth["own"], tile_of(plan, smooth, fixed), smooth["bias"])


def seen_of(plan: Plan, smooth: dict, fixed: dict, row_tile, column_tile):
    """Pairs that see each other and, of clamped tiles, belong to this one; a tile of None keeps all its rows."""
    seen = engines.seen(plan.rule, smooth["own"], tile_of(plan, smooth, fixed), fixed["mask"])
    for tile, size, length, shape in (
        (row_tile, plan.rows, plan.length, np.s_[None, :, None]),
        (column_tile, plan.columns, plan.keys, np.s_[None, None, :]),
    ):
        fresh = None if tile is None else _fresh(tile, size, length)
        if fresh is not None:
            seen &= fresh[shape]
    return seen


def over_keys(plan: Plan, data: dict, i, group, body, carry):
    """Runs `body(j, carry)` over the live key tiles of query tile i."""
    if data["live"] is None:
        return body(0, carry)
    order, count = data["live"][0]
    return lax.fori_loop(0, count[group, i], lambda n, c: body(order[group, i, n], c), carry)


def keys_of(plan: Plan, data: dict, j, group) -> Float[Array, "s g d"]:
    per_key = plan.heads // plan.key_heads
    start = start_of(j, plan.columns, plan.keys)
    held = cut(data["key"].vector, start, plan.columns)
    return cut(held, group * plan.group // per_key, plan.group // per_key, 1)


def values_of(plan: Plan, data: dict, j, group) -> Float[Array, "j s e"]:
    per_value = plan.heads // plan.value_heads
    start = start_of(j, plan.columns, plan.keys)
    held = cut(cut(data["value"], start, plan.columns), group * plan.group // per_value, plan.group // per_value, 1)
    return jnp.moveaxis(held, 1, 0)


def weigh(weights: Float[Array, "h t s"], values: Float[Array, "j s e"]) -> Float[Array, "h t e"]:
    folded = weights.astype(values.dtype).reshape(values.shape[0], -1, weights.shape[2])
    out = jnp.einsum("jts,jse->jte", folded, values, preferred_element_type=weights.dtype)
    return out.reshape(*weights.shape[:2], values.shape[2])
