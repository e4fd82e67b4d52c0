"""Which tiles a call visits, in which order, and how much of each: what no row sees is left out, and where every row
sees every key there is no mask arithmetic.

Source: Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135, section 3.3 (skipping blocks of a known mask).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jattn.engines import Pairs, Rule
from jattn.engines.tiles import Kind, Plan, Step, sizes, whole_steps
from jattn.part import Place, Side, Span

# from this length on segments and valid tokens say which tiles are visited, and a batch is a loop: in a batch of tiles
# bounds that depend on data skip nothing
STEERED_FROM = 512
# how much longer a pair takes in a small tile; measured: 2.4 times forward and 1.8 times with the gradient
FINE_COST = 2.0
# how many products of one shape a loop may be made of; more cost compile time and gain little
MOST_STEPS = 6

Listed = tuple[Int[Array | np.ndarray, "groups i j"], Int[Array | np.ndarray, "groups i kinds"]]


def plans(
    rule: Rule, query: Side, key: Side, value: Array, place: Place, pairs: Pairs, chunks: int = 1
) -> tuple[tuple[Plan, ...], tuple, Any]:
    """The plan of a call and its lists of tiles; where segments may leave few pairs another in small tiles, which visit
    less of what is dead, and whether that pays, which data say. Tokens lie in so many equal chunks."""

    def made(side=None):
        return planned(Plan.of(rule, query, key, value, place, side, chunks), query, key, place, pairs)

    plan, listed = made()
    fine_side = sizes().fine_side
    if query.segment is None or max(plan.length, plan.keys) < STEERED_FROM or not fine_side:
        return (plan,), (listed,), None
    fine, fine_listed = made(fine_side)
    pays = FINE_COST * _pairs(fine, fine_listed) < _pairs(plan, listed)
    return (plan, fine), (listed, fine_listed), pays


def planned(plan: Plan, query: Side, key: Side, place: Place, pairs: Pairs) -> tuple[Plan, Any]:
    """The plan with the kinds of its tiles, and lists of the tiles to visit: for each tile of queries the tiles of keys
    by kind, with the places where each kind begins and ends, and backward for each tile of keys the tiles of queries.

    No lists where there is one tile that is surely visited. NumPy where positions and heads are and no data steer.
    """
    some, every, own_rows, own_columns = _reach(plan, query, key, place)
    known = not isinstance(some, jax.Array) and not isinstance(every, jax.Array)
    steers = max(plan.length, plan.keys) >= STEERED_FROM
    blocks = None
    if known and min(plan.rows, plan.columns) >= sizes().block:
        blocks = _blocks(plan, query, key, place)
        if pairs.mask is not None or any(x is not None for side in (query, key) for x in (side.segment, side.valid)):
            every = np.zeros_like(every)
    if plan.counts()[:2] == (1, 1) and not (steers and isinstance(some, jax.Array)):
        kinds, _ = _kinds(dataclasses.replace(plan, group=plan.heads), some, every, blocks)
        return dataclasses.replace(plan, kinds=kinds, slim_kinds=kinds), None
    met = _met_by_data(plan, query, key) if steers else True
    # forward, rows that two tiles hold come out alike in both
    kinds, forward = _kinds(plan, some, every & own_columns, blocks)
    slim_kinds, backward = _kinds(plan.slim(), some, every & own_columns & own_rows, blocks)
    listed = (
        _listed(forward, len(kinds), met),
        _listed(backward.swapaxes(1, 2), len(slim_kinds), met if met is True else met.swapaxes(1, 2)),
    )
    return dataclasses.replace(plan, kinds=kinds, slim_kinds=slim_kinds), listed


def _pairs(plan: Plan, listed: Any) -> Any:
    """How many pairs of one head are visited forward."""
    areas = np.array([sum(step.rows * step.columns for step in kind.steps) for kind in plan.kinds], np.float32)
    if listed is None:
        return areas.sum()
    _, ends = listed[0]
    return ((ends[..., 1:] - ends[..., :-1]).sum((0, 1)) * areas).sum() / ends.shape[0]


def _listed(numbers, count: int, met) -> Listed:
    xp = np if met is True and isinstance(numbers, np.ndarray) else jnp
    numbers = xp.where(met, numbers, count)
    ends = xp.stack([(numbers < kind).sum(-1) for kind in range(count + 1)], -1)
    return xp.argsort(numbers, axis=-1, stable=True).astype(np.int32), ends.astype(np.int32)


def _kinds(plan: Plan, some: Any, every: Any, blocks: Any) -> tuple[tuple[Kind, ...], Any]:
    """The kinds of tiles, and for each group of heads and tile the number of its kind, one more where it is dead."""
    xp = jnp if isinstance(some, jax.Array) else np
    row_tiles, column_tiles, groups = plan.counts()
    whole, tile = whole_steps(plan), (Step(0, plan.rows, 0, plan.columns),)
    some, every = (xp.reshape(x, (groups, plan.group, row_tiles, column_tiles)) for x in (some, every))
    some = some.any(1)
    if blocks is None:
        kinds = (Kind(whole, False),)
        return (kinds if xp is jnp or some.any() else ()), xp.where(some, 0, 1)
    every = every.all(1)
    found, numbers = [], np.full(some.shape, -1)
    if every.any():
        numbers[every] = len(found)
        found.append(Kind(whole, True))
    # each pattern of live blocks as one number, the most frequent first
    patterns = blocks.reshape(groups, plan.group, *blocks.shape[1:]).any(1)
    flat = patterns.reshape(*some.shape, -1)
    codes = flat @ (1 << np.arange(flat.shape[-1], dtype=np.int64))
    left = some & ~every
    values, counts = np.unique(codes[left], return_counts=True)
    room = MOST_STEPS
    for code in values[np.argsort(-counts, kind="stable")]:
        chosen = left & (codes == code)
        steps = _steps(patterns[tuple(np.argwhere(chosen)[0])], plan)
        if steps != tile and len(steps) <= room:
            room -= len(steps)
            numbers[chosen] = len(found)
            found.append(Kind(steps, False))
    rest = left & (numbers < 0)
    if rest.any():
        numbers[rest] = len(found)
        found.append(Kind(whole, False))
    numbers[~some] = len(found)
    return tuple(found), numbers


def _steps(pattern: Bool[np.ndarray, "r c"], plan: Plan) -> tuple[Step, ...]:
    """Rectangles that hold a tile's live blocks: columns of blocks between their first and last live row."""
    row_edges, column_edges = _edges(plan.rows), _edges(plan.columns)
    steps: list[Step] = []
    for number in np.flatnonzero(pattern.any(0)):
        rows = np.flatnonzero(pattern[:, number])
        row, end = row_edges[rows[0]], row_edges[rows[-1] + 1]
        column, size = column_edges[number], column_edges[number + 1] - column_edges[number]
        if steps and (last := steps[-1])[:2] == (row, end - row) and last.column + last.columns == column:
            steps[-1] = last._replace(columns=last.columns + size)
        else:
            steps.append(Step(row, end - row, column, size))
    return tuple(steps)


def _edges(size: int) -> list[int]:
    return [*range(0, size, sizes().block), size]


def _reach(plan: Plan, query: Side, key: Side, place: Place) -> tuple[Any, Any, Any, Any]:
    """Whether some pair, and whether every pair, of each head and tile sees each other; and whether the rows, and the
    columns, of each tile are its own: a clamped last tile holds some of the one before."""
    sizes = ((plan.length, plan.rows), (plan.keys, plan.columns))
    starts = [_starts(*each) for each in sizes]
    some, every = _of_spans(
        plan, query, key, place, [(s, s + size) for s, (_, size) in zip(starts, sizes, strict=True)]
    )
    xp = jnp if isinstance(some, jax.Array) or isinstance(every, jax.Array) else np
    rows, columns = (np.arange(0, *each) == start for each, start in zip(sizes, starts, strict=True))
    shape = plan.heads, len(rows), len(columns)
    return xp.broadcast_to(some, shape), xp.broadcast_to(every, shape), rows[None, :, None], columns[None, None, :]


def _blocks(plan: Plan, query: Side, key: Side, place: Place) -> Bool[np.ndarray, "h i j r c"]:
    """Whether some pair of each block of each tile sees each other."""
    ranges = []
    for length, size in ((plan.length, plan.rows), (plan.keys, plan.columns)):
        starts, edges = _starts(length, size), np.array(_edges(size))
        ranges.append(tuple((starts[:, None] + ends[None, :]).reshape(-1) for ends in (edges[:-1], edges[1:])))
    some, _ = _of_spans(plan, query, key, place, ranges)
    row_tiles, column_tiles, _ = plan.counts()
    some = np.broadcast_to(some, (plan.heads, len(ranges[0][0]), len(ranges[1][0])))
    return some.reshape(plan.heads, row_tiles, -1, column_tiles, len(ranges[1][0]) // column_tiles).swapaxes(2, 3)


def _starts(length: int, size: int) -> Int[np.ndarray, " tiles"]:
    # the clamped last tile asks for the rows it holds
    return np.minimum(np.arange(0, length, size), length - size)


def _of_spans(plan: Plan, query: Side, key: Side, place: Place, ranges: list) -> tuple[Any, Any]:
    rows, columns = (_span(side, *ends) for side, ends in zip((query, key), ranges, strict=True))
    rows, columns = (
        Span(*(x[shape] for x in span[:2]), span.length)
        for span, shape in ((rows, np.s_[None, :, None]), (columns, np.s_[None, None, :]))
    )
    return plan.rule.mask.reach(rows, columns, place._replace(head=place.head[:, None, None]))


def _span(side: Side, first: Int[np.ndarray, " n"], end: Int[np.ndarray, " n"]) -> Span:
    least, most = _extremes(side.position, first, end)
    return Span(least, most, side.length)


def _extremes(values: Array | np.ndarray, first: Int[np.ndarray, " n"], end: Int[np.ndarray, " n"]) -> tuple[Any, Any]:
    xp = np if isinstance(values, np.ndarray) else jnp
    # ranges are of one length but for the last block of a tile, which repeats its own last token
    held = values[np.minimum(first[:, None] + np.arange((end - first).max()), end[:, None] - 1)]
    return xp.min(held, 1), xp.max(held, 1)


def _met_by_data(plan: Plan, query: Side, key: Side) -> Bool[Array | np.ndarray, "1 i j"] | bool:
    """Whether segments and valid tokens let some pair of two tiles meet, as far as their extremes tell."""
    found = True
    starts = _starts(plan.length, plan.rows), _starts(plan.keys, plan.columns)
    ranges = (starts[0], starts[0] + plan.rows), (starts[1], starts[1] + plan.columns)
    if query.segment is not None:
        (q_first, q_last), (k_first, k_last) = (
            _extremes(jnp.asarray(side.segment), *ends) for side, ends in zip((query, key), ranges, strict=True)
        )
        found = (q_first[:, None] <= k_last[None, :]) & (k_first[None, :] <= q_last[:, None])
    for number, (side, ends) in enumerate(zip((query, key), ranges, strict=True)):
        if side.valid is not None:
            some = _extremes(side.valid, *ends)[1]
            found = found & (some[:, None] if number == 0 else some[None, :])
    return found if found is True else found[None]
