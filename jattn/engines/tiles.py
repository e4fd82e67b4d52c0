"""How the arrays of one call are cut into tiles, and the loops over what is visited of them."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn import engines
from jattn.engines import Rule
from jattn.engines.varying import alike
from jattn.part import Dims, Place, Side, Tile, part


class Sizes(NamedTuple):
    """What suits a platform: most queries or keys of a tile; most pairs of its heads, and as many in the backward pass,
    which holds five such arrays, as it takes to be fast; the side of blocks by which a tile is visited in part; and the
    side of tiles where data leave few pairs, 0 where small ones never pay."""

    side: int
    pairs: int
    slim_pairs: int
    block: int
    fine_side: int


# by platform, others as on CPU. Two cores are at their best with one head of 1024 x 1024, and backward as fast with a
# quarter of its room; a GPU starts anew for each operation of a tile; a TPU holds all of a tile beside its processor
SIZES = {
    "cpu": Sizes(1024, 2**20, 2**18, 256, 128),
    "gpu": Sizes(2048, 2**25, 2**25, 512, 0),
    "tpu": Sizes(1024, 2**23, 2**23, 512, 0),
}
# from this many queries and keys on no array has all of both
WHOLE_UNTIL = 512
# units in the last place by which a logit may differ when it is computed again
ROUNDING = 16


class Step(NamedTuple):
    """A rectangle of a tile, counted from its first row and column."""

    row: int
    rows: int
    column: int
    columns: int


@part
class Kind:
    """How tiles of one kind are visited: step by step, and with no mask arithmetic where every pair is seen."""

    steps: tuple[Step, ...]
    whole: bool


@part
class Plan:
    """Sizes of one call: tiles of `rows` queries, `columns` keys and `group` heads, and the kinds of its tiles."""

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
    kinds: tuple[Kind, ...] = ()
    slim_kinds: tuple[Kind, ...] = ()

    @staticmethod
    def of(
        rule: Rule, query: Side, key: Side, value: Array, place: Place, side: int | None = None, chunks: int = 1
    ) -> "Plan":
        """The plan that suits the lengths, or one of tiles of at most `side` queries and keys.

        Tokens lie in so many equal chunks, which tiles cross as little as can be.
        """
        length, heads = query.vector.shape[:2]
        keys, key_heads = key.vector.shape[:2]
        least = engines.share(heads, key_heads, value.shape[1])
        width = max((score.width(Dims.of(query.vector, key.vector, value)) for score in rule.score), default=1)
        each = length // chunks, keys // chunks
        rows, columns = tile_sizes(*each) if side is None else (even(each[0], side), even(each[1], side))
        rows, columns = narrowed(rows, columns, least, width)
        group = _group(heads, least, sizes().pairs // (rows * columns * width))
        return Plan(
            rule, heads, key_heads, value.shape[1], length, keys, rows, columns, group, place.heads, place.key_heads
        )

    def counts(self) -> tuple[int, int, int]:
        """How many tiles of queries, tiles of keys and groups of heads there are."""
        return -(-self.length // self.rows), -(-self.keys // self.columns), self.heads // self.group

    def slim(self) -> "Plan":
        """The same with fewer heads at once, which backward is as fast in less memory."""
        least = engines.share(self.heads, self.key_heads, self.value_heads)
        group = min(self.group, _group(self.heads, least, sizes().slim_pairs // (self.rows * self.columns)))
        return dataclasses.replace(self, group=group, kinds=self.slim_kinds)


def _group(heads: int, least: int, fit: int) -> int:
    """How many heads of a multiple of `least` fit, in equal groups."""
    return least * max(
        n for n in range(1, heads // least + 1) if n <= max(1, fit // least) and (heads // least) % n == 0
    )


def platform() -> str:
    """What a program that is traced now is for: the platform of `jax.default_device` where that is set, else JAX's."""
    device = jax.config.jax_default_device
    return jax.default_backend() if device is None else getattr(device, "platform", device)


def sizes() -> Sizes:
    """What suits the platform that is traced for."""
    return SIZES.get(platform(), SIZES["cpu"])


def tile_sizes(length: int, keys: int) -> tuple[int, int]:
    """How many queries and how many keys a tile holds."""
    return _size(length), _size(keys)


def _size(length: int) -> int:
    # a small length gains more from skipped tiles than it loses to smaller products
    return even(length, sizes().fine_side if length <= 256 and sizes().fine_side else sizes().side)


def even(length: int, most: int) -> int:
    """The size of as few tiles as can be, all of one size, so that the last one computes few rows again."""
    return -(-length // -(-length // most))


def whole_steps(plan: Plan) -> tuple[Step, ...]:
    """All of a tile; of the only one by halves where it is large."""
    rows, columns = plan.rows, plan.columns
    if plan.counts()[:2] != (1, 1) or max(rows, columns) <= WHOLE_UNTIL:
        return (Step(0, rows, 0, columns),)
    half = -(-max(rows, columns) // 2)
    if columns >= rows:
        return Step(0, rows, 0, half), Step(0, rows, half, columns - half)
    return Step(0, half, 0, columns), Step(half, rows - half, 0, columns)


def narrowed(rows: int, columns: int, heads: int, width: int) -> tuple[int, int]:
    """Sizes at which pairs of `width` values take no more room than a tile may, or pairs of one value would."""
    room = max(sizes().pairs, heads * rows * columns)
    while heads * rows * columns * width > room and max(rows, columns) > 1:
        rows, columns = (rows, -(-columns // 2)) if columns >= rows else (-(-rows // 2), columns)
    return rows, columns


def start_of(tile, size: int, length: int):
    # the last tile is clamped and computes some rows again; `Block.own_row` tells which are its own
    return 0 if size == length else jnp.minimum(jnp.asarray(tile * size, jnp.int32), length - size)


class Block(NamedTuple):
    """One step of one tile: where its rows and columns lie, and from where on they are the tile's own."""

    row: Any
    rows: int
    own_row: Any
    column: Any
    columns: int
    own_column: Any
    step: Step
    whole: bool

    def of(self, rows: Array) -> Array:
        """The block's part of values "h t ..." of the tile's rows."""
        return rows[:, self.step.row : self.step.row + self.rows]

    def put(self, rows: Array, part: Array) -> Array:
        """The same values with the block's part of them new."""
        return rows.at[:, self.step.row : self.step.row + self.rows].set(part)


def block_of(plan: Plan, i, j, step: Step, whole: bool) -> Block:
    """A step of tile (i, j)."""
    found = []
    for tile, size, length, (offset, count) in (
        (i, plan.rows, plan.length, step[:2]), (j, plan.columns, plan.keys, step[2:]),
    ):  # fmt: skip
        own = None if length % size == 0 else tile * size
        found += [start_of(tile, size, length) + offset, count, own]
    return Block(*found, step, whole)


def loop(data: dict, count, body, carry):
    """`body(number, carry)`, which reads the data of a call, so many times."""
    carry = alike(carry, data)
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


def _side(side: Side, start, size: int, heads: tuple) -> Side:
    """Rows of a side, whose vector becomes "n h d" of some heads; `extra` keeps all heads."""
    first, count = heads
    rows = jax.tree.map(lambda leaf: cut(leaf, start, size), side._replace(length=None))
    return rows._replace(vector=cut(rows.vector, first, count, axis=1), length=side.length)


def pieces(plan: Plan, data: dict, block: Block, group) -> tuple[dict, dict]:
    """What a block reads for a group of heads: what has gradients, and what has none."""
    head = group * plan.group
    per_key = plan.heads // plan.key_heads
    query = _side(data["query"], block.row, block.rows, (head, plan.group))
    key = _side(data["key"], block.column, block.columns, (head // per_key, plan.group // per_key))
    smooth = {
        "own": data["own"],
        "q": query.vector,
        "k": key.vector,
        "query extra": query.extra,
        "key extra": key.extra,
        "bias": None if data["bias"] is None else _cut_pairs(plan, data["bias"], head, block),
    }
    mask = None if data["mask"] is None else _cut_pairs(plan, data["mask"], head, block)
    visible = data["visible"]
    if visible is not None:
        visible = cut(cut(visible, head, plan.group), block.row, block.rows, axis=1)
    numbers, layer, example = data["place"]
    place = Place(cut(numbers, head, plan.group), plan.all_heads, plan.all_key_heads, layer, example)
    fixed = {"query": query, "key": key, "mask": mask, "visible": visible, "place": place, "head": head}
    return smooth, fixed


def _cut_pairs(plan: Plan, array: Array, head, block: Block) -> Array:
    for axis, (start, size) in enumerate(
        ((head, plan.group), (block.row, block.rows), (block.column, block.columns))
    ):  # fmt: skip
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


def seen_of(plan: Plan, smooth: dict, fixed: dict, block: Block) -> Bool[Array, "#h t s"]:
    """Pairs that see each other and, of a clamped tile, are its own."""
    if block.whole:
        return jnp.ones((1, block.rows, block.columns), bool)
    seen = engines.seen(plan.rule, smooth["own"], tile_of(plan, smooth, fixed), fixed["mask"])
    if block.own_column is not None:
        seen &= (block.column + jnp.arange(block.columns) >= block.own_column)[None, None, :]
    if block.own_row is not None:
        seen &= (block.row + jnp.arange(block.rows) >= block.own_row)[None, :, None]
    return seen


def over_tiles(data: dict, kinds: tuple[Kind, ...], listed: tuple | None, at: tuple, visit, carry):
    """Runs `visit(other, kind, carry)` over the tiles that are visited beside `at`, a group of heads and a tile;
    `other` is of the other side."""
    carry = alike(carry, data)
    if listed is None:
        return visit(0, kinds[0], carry) if kinds else carry
    order, ends = listed
    for number, kind in enumerate(kinds):
        body = functools.partial(lambda kind, n, c: visit(order[*at, n], kind, c), kind)
        carry = lax.fori_loop(ends[*at, number], ends[*at, number + 1], body, carry)
    return carry


def over_keys(plan: Plan, data: dict, i, group, body, carry):
    """Runs `body(block, carry)` over what is visited beside query tile i; the carry is of rows "h t ...", cut alike."""

    def visit(j, kind, carry):
        for step in kind.steps:
            # rows that two tiles hold come out alike in both
            block = block_of(plan, i, j, step, kind.whole)._replace(own_row=None)
            if step.rows == plan.rows:
                carry = body(block, carry)
            else:
                found = body(block, jax.tree.map(block.of, carry))
                carry = jax.tree.map(block.put, carry, found)
        return carry

    listed = None if data["live"] is None else data["live"][0]
    return over_tiles(data, plan.kinds, listed, (group, i), visit, carry)


def keys_of(plan: Plan, data: dict, column, columns: int, group) -> Float[Array, "g s d"]:
    """The keys of a group of heads."""
    count = plan.group * plan.key_heads // plan.heads
    return jnp.moveaxis(cut(cut(data["key"].vector, column, columns), group * count, count, 1), 1, 0)


def values_of(plan: Plan, data: dict, column, columns: int, group) -> Float[Array, "j s e"]:
    """The values of a group of heads."""
    count = plan.group * plan.value_heads // plan.heads
    return jnp.moveaxis(cut(cut(data["value"], column, columns), group * count, count, 1), 1, 0)


def at_top(logits: Float[Array, "..."], top: Float[Array, "..."]) -> Bool[Array, "..."]:
    """Whether logits are the largest of their row but for rounding, which differs between products of two shapes."""
    near = jnp.where(jnp.isfinite(top), top, 0)
    return logits >= top - ROUNDING * jnp.finfo(logits.dtype).eps * jnp.maximum(1, jnp.abs(near))


def weigh(weights: Float[Array, "h t s"], values: Float[Array, "j s e"]) -> Float[Array, "h t e"]:
    folded = engines.folded(weights.astype(values.dtype), values.shape[0])
    out = jnp.einsum("jts,jse->jte", folded, values, preferred_element_type=weights.dtype)
    return out.reshape(*weights.shape[:2], values.shape[2])
