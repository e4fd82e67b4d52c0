"""All pairs at once, differentiated by JAX alone: the oracle of the other engines, and the path for forward mode and
higher orders.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, equation 1.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn import engines
from jattn.engines import Pairs, Rule
from jattn.engines.dropout import drop
from jattn.numerics import divide, log, wide, x_log_x
from jattn.part import Attended, Place, Side, Stats, Tile

# of the range in which a threshold is looked for, from 1 on, then of what is left of it
DOUBLINGS, BISECTIONS = 32, 100
# the first step from a constant carries first derivatives, each more doubles their order and adds one: up to the 15th
NEWTON_STEPS = 4


def attend(rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place, pairs: Pairs):
    """Attention of one example by its definition; memory grows with t times s.

    Sides hold `vector` as "n h d". Returns `Attended` with statistics "t h". Raises ValueError where heads do not
    divide.
    """
    heads = query.vector.shape[1]
    engines.share(heads, key.vector.shape[1], value.shape[1])
    query = engines.prepared(attend, rule, own, query, key, value, place, pairs)
    tile, logits, seen = _pairs(rule, own, query, key, place, pairs)
    visible = tile.visible
    tile = engines.normalizer_tile(rule, tile)
    weights, normalizer, null = _weights(rule, own["normalizer"], logits, seen, tile, value.shape[2])

    values = jnp.repeat(jnp.moveaxis(value, 1, 0), heads // value.shape[1], axis=0)
    left = drop(weights, rule.dropout, pairs.noise, tile)
    out = jnp.einsum("hts,hse->hte", left.astype(wide(value.dtype)), values.astype(wide(value.dtype)))
    size = jnp.abs(weights)
    heat = x_log_x(size).sum(-1)
    largest = jnp.where(seen, logits, -jnp.inf)
    if null is not None:
        level, null_value = null
        mass = jnp.where(visible > 0, jnp.exp(level - jnp.where(visible > 0, normalizer, 0)), 0)
        heat += x_log_x(mass)
        size = jnp.concatenate([size, mass[..., None]], -1)
        largest = jnp.concatenate([largest, jnp.where(visible > 0, level, -jnp.inf)[..., None]], -1)
        if null_value is not None:
            out += mass[..., None] * null_value[:, None, :]
    total = size.sum(-1)
    entropy = jnp.where(total > 0, jnp.where(total > 0, log(total), 0) - divide(heat, total), 0)
    stats = Stats(
        entropy=entropy.T,
        log_normalizer=(normalizer if rule.normalizer.kind == "exponential" else log(total)).T,
        max_logit=largest.max(-1, initial=-jnp.inf).T,
        visible=visible.T,
        observed={},
    )
    return Attended(jnp.moveaxis(out, 0, 1).astype(value.dtype), stats)


def weights(rule: Rule, own: dict, query: Side, key: Side, place: Place, pairs: Pairs) -> Float[Array, "h t s"]:
    """What each row gives to each key, before dropout; sides as in `attend`, and the queries may be some of a whole."""
    query = engines.prepared(attend, rule, own, query, key, key.vector, place, pairs)
    tile, logits, seen = _pairs(rule, own, query, key, place, pairs)
    return _weights(rule, own["normalizer"], logits, seen, engines.normalizer_tile(rule, tile), 0)[0]


def _pairs(rule: Rule, own: dict, query: Side, key: Side, place: Place, pairs: Pairs):
    tile = engines.whole_tile(query, key, place)
    shape = (query.vector.shape[1], query.vector.shape[0], key.vector.shape[0])
    seen = jnp.broadcast_to(engines.seen(rule, own, tile, pairs.mask), shape)
    tile = tile._replace(visible=seen.sum(-1, dtype=jnp.int32))
    return tile, engines.logits(rule, own, tile, pairs.bias), seen


def _weights(rule: Rule, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "h t s"], tile: Tile, width: int):
    normalizer = rule.normalizer
    null = None
    if normalizer.kind == "exponential":
        level = engines.level(normalizer, own, logits, seen, tile)
        null = engines.null(normalizer, own, tile, width)
        if null is not None:
            level = jnp.concatenate([level, null[0].astype(level.dtype)[..., None]], -1)
        any_seen = seen.any(-1)
        top = lax.stop_gradient(level.max(-1, initial=-jnp.inf))
        top = jnp.where(jnp.isfinite(top) & any_seen, top, 0)
        mass = jnp.where(any_seen, jnp.exp(level - top[..., None]).sum(-1), 0)
        z = log(mass) + top
        finite = jnp.where(mass > 0, z, 0)[..., None]
        return engines.weights(normalizer, own, logits, finite, seen, tile), z, null
    if normalizer.kind == "free":
        return engines.weights(normalizer, own, logits, jnp.zeros_like(logits[..., :1]), seen, tile), None, None
    z = _threshold(rule, own, logits, seen, tile)
    return engines.weights(normalizer, own, logits, z[..., None], seen, tile), None, None


def _threshold(rule: Rule, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "h t s"], tile: Tile):
    """The z at which a row's weights sum to 1: bisection without gradients, then Newton steps that carry them."""
    normalizer = rule.normalizer

    def total(z):
        return engines.weights(normalizer, own, logits, z[..., None], seen, tile).sum(-1)

    def above(z):
        return lax.stop_gradient(total(z)) >= 1

    top = jnp.where(seen, logits, -jnp.inf).max(-1, initial=-jnp.inf)
    top = lax.stop_gradient(jnp.where(seen.any(-1), top, 0))
    low = lax.stop_gradient(engines.begin(normalizer, own, top, tile))

    def widen(_, width):
        return jnp.where(above(low + width), 2 * width, width)

    def halve(_, ends):
        middle = (ends[0] + ends[1]) / 2
        enough = above(middle)
        return jnp.where(enough, middle, ends[0]), jnp.where(enough, ends[1], middle)

    def newton(_, z):
        mass, slope = jax.jvp(total, (z,), (jnp.ones_like(z),))
        return z - divide(mass - 1, slope)

    width = lax.fori_loop(0, DOUBLINGS, widen, jnp.ones_like(low))
    low, _ = lax.fori_loop(0, BISECTIONS, halve, (low, low + width))
    return lax.fori_loop(0, NEWTON_STEPS, newton, low)
