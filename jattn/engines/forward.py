"""The forward pass of the tiled engine: output and statistics of every row, a tile of keys at a time."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn import engines
from jattn.engines.dropout import drop
from jattn.engines.tiles import (
    Plan,
    Step,
    at_top,
    block_of,
    logits_of,
    loop,
    over_keys,
    paste,
    pieces,
    seen_of,
    start_of,
    tile_of,
    values_of,
    weigh,
)
from jattn.numerics import divide, log, wide, x_log_x

# below any logit, and finite, so that a row that sees nothing subtracts numbers and not infinities
FLOOR = -1e30
# steps that a threshold may take; a row stops when it moves no more
NEWTON_STEPS = 50


def count_visible(plan: Plan, data: dict) -> Int[Array, "h t"]:
    """How many keys each row sees, by mask arithmetic alone."""
    row_tiles, _, groups = plan.counts()

    def rows_of(x, counts):
        i, group = x // groups, x % groups

        def count(block, found):
            smooth, fixed = pieces(plan, data, block, group)
            seen = seen_of(plan, smooth, fixed, block)
            return found + jnp.broadcast_to(seen, (plan.group, *seen.shape[1:])).sum(-1, dtype=jnp.int32)

        found = over_keys(plan, data, i, group, count, jnp.zeros((plan.group, plan.rows), jnp.int32))
        return paste(counts, found, (group * plan.group, start_of(i, plan.rows, plan.length)))

    return loop(data, row_tiles * groups, rows_of, jnp.zeros((plan.heads, plan.length), jnp.int32))


def run(plan: Plan, data: dict, out_dtype: DTypeLike | None = None) -> tuple[Array, tuple]:
    """The output "t h e" and, each "h t": entropy, log-normalizer, largest logit, visible, z, mass, ties.

    `out_dtype` is that of the values where None.
    """
    row_tiles, _, groups = plan.counts()
    normalizer = plan.rule.normalizer
    own = data["own"]["normalizer"]
    out_dtype = out_dtype or data["value"].dtype
    dtype = wide(data["query"].vector.dtype)
    zero = jnp.zeros((plan.group, plan.rows), dtype)

    def rows_of(x, carry):
        out, rows = carry
        i, group = x // groups, x % groups

        def look(block):
            smooth, fixed = pieces(plan, data, block, group)
            seen = seen_of(plan, smooth, fixed, block)
            tile = engines.normalizer_tile(plan.rule, tile_of(plan, smooth, fixed))
            return logits_of(plan, smooth, fixed), seen, tile

        z = zero
        if normalizer.kind == "threshold":
            all_rows = block_of(plan, i, 0, Step(0, plan.rows, 0, 1), False)
            z = _solve(plan, own, lambda body, c: over_keys(plan, data, i, group, body, c), look, all_rows, zero)

        def absorb(block, carry):
            running, mass, acc, heat, top, ties, visible = carry
            logits, seen, tile = look(block)
            shift = running
            if normalizer.kind == "exponential":
                level = engines.level(normalizer, own, logits, seen, tile)
                shift = jnp.maximum(running, level.max(-1))
                weights = engines.weights(normalizer, own, logits, shift[..., None], seen, tile)
                size = jnp.abs(weights)
                scale = jnp.exp(running - shift)
                heat = scale * (heat + jnp.where(mass > 0, (running - shift) * mass, 0))
                heat += jnp.where(size > 0, size * (level - shift[..., None]), 0).sum(-1)
                mass, acc = mass * scale, acc * scale[..., None]
            else:
                weights = engines.weights(normalizer, own, logits, block.of(z)[..., None], seen, tile)
                size = jnp.abs(weights)
                heat += x_log_x(size).sum(-1)
            mass += size.sum(-1)
            left = drop(weights, plan.rule.dropout, data["noise"], tile)
            acc += weigh(left, values_of(plan, data, block.column, block.columns, group))
            shown = jnp.where(seen, logits, -jnp.inf)
            before, top = top, jnp.maximum(top, shown.max(-1))
            tied = (seen & at_top(shown, top[..., None])).sum(-1, dtype=jnp.int32)
            ties = jnp.where(at_top(before, top), ties, 0) + tied
            count = jnp.broadcast_to(seen, logits.shape).sum(-1, dtype=jnp.int32)
            return shift, mass, acc, heat, top, ties, visible + count

        start = zero + FLOOR if normalizer.kind == "exponential" else zero
        count = jnp.zeros(zero.shape, jnp.int32)
        carry = start, zero, jnp.zeros((*zero.shape, data["value"].shape[2]), dtype), zero, zero - jnp.inf, count, count
        running, mass, acc, heat, top, ties, visible = over_keys(plan, data, i, group, absorb, carry)
        # a mass that is no number is one: neither its output nor its statistics are
        has_mass = ~(mass <= 0)
        entropy = jnp.where(has_mass, jnp.where(has_mass, log(mass), 0) - divide(heat, mass), 0)
        if normalizer.kind == "exponential":
            z = jnp.where(has_mass, running + jnp.where(has_mass, log(mass), 0), 0)
            log_normalizer = jnp.where(has_mass, z, -jnp.inf)
            acc = divide(acc, mass[..., None])
            mass = has_mass.astype(dtype)
        else:
            log_normalizer = log(mass)
        at = group * plan.group, start_of(i, plan.rows, plan.length)
        found = entropy, log_normalizer, top, visible, z, mass, ties
        rows = tuple(paste(row, new, at) for row, new in zip(rows, found, strict=True))
        return paste(out, jnp.moveaxis(acc, 0, 1), (at[1], at[0], 0)), rows

    whole = jnp.zeros((plan.heads, plan.length), dtype)
    rows = tuple(whole.astype(jnp.int32) if n in (3, 6) else whole for n in range(7))
    out = jnp.zeros((plan.length, plan.heads, data["value"].shape[2]), out_dtype)
    return loop(data, row_tiles * groups, rows_of, (out, rows))


def _solve(plan: Plan, own: dict, over_keys, look, first, zero: Float[Array, "h t"]) -> Float[Array, "h t"]:
    """The z at which each row's weights sum to 1, by Newton steps from a side where they sum to more."""
    normalizer = plan.rule.normalizer

    def highest(block, top):
        logits, seen, _ = look(block)
        return jnp.maximum(top, jnp.where(seen, logits, -jnp.inf).max(-1))

    top = over_keys(highest, zero - jnp.inf)
    some = top > -jnp.inf
    *_, tile = look(first)
    degree = jnp.asarray(normalizer.degree(own, tile._replace(key=None)), zero.dtype)

    # each row stops by itself: steps as many as another row needs, maybe for later keys, would move its last bit
    def step(carry):
        count, z, moves = carry

        def sweep(block, sums):
            logits, seen, tile = look(block)

            def at(z):
                return engines.weights(normalizer, own, logits, z[..., None], seen, tile)

            weights, pull = jax.vjp(at, block.of(z))
            return sums[0] + weights.sum(-1), sums[1] + pull(jnp.ones_like(weights))[0]

        mass, slope = over_keys(sweep, (zero, zero))
        # Newton's step for mass^(1 / degree) = 1
        above = -degree * mass * jnp.expm1(-jnp.log(jnp.where(mass > 0, mass, 1)) / degree)
        move = jnp.where(moves, divide(above, slope), 0)
        z = z - move
        return count + 1, z, moves & (jnp.abs(move) > 4 * jnp.finfo(zero.dtype).eps * jnp.maximum(1, jnp.abs(z)))

    def moving(carry):
        count, _, moves = carry
        return (count < NEWTON_STEPS) & moves.any()

    begin = engines.begin(normalizer, own, jnp.where(some, top, 0), tile)
    return lax.while_loop(moving, step, (0, begin, some))[1]
