"""Divide, exp, log and sum that survive empty rows and long lines, look-ups of offsets, and which numbers are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


def wide(dtype: DTypeLike) -> jnp.dtype:
    """The dtype in which sums over `dtype` are kept: float32, or float64 where it came in."""
    return jnp.promote_types(dtype, jnp.float32)


def known(array: Any) -> np.ndarray | None:
    """Its numbers, None where it is traced and has none yet."""
    try:
        return np.asarray(array)
    except jax.errors.TracerArrayConversionError:
        return None


def divide(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """The quotient, and 0 where the denominator is 0, with a gradient that is finite there too."""
    # select on both sides of the division: the branch not taken is differentiated as well
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), 0)


@jax.custom_jvp
def quotient(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """`divide` where numerator and denominator may both be tiny: its gradient is finite then too.

    A denominator that is not 36 binary digits above the smallest normal number is differentiated as if it were.
    """
    return divide(numerator, denominator)


@quotient.defjvp
def _quotient_jvp(primals, tangents):
    denominator, nonzero = primals[1], primals[1] != 0
    found = quotient(*primals)
    # by the rule of quotients the gradient would be divided by a square, which underflows long before its root does;
    # and what one divides by must leave the sums over rows room below the largest number
    least = jnp.finfo(denominator.dtype).tiny * 2.0**36
    far = jnp.where(jnp.abs(denominator) < least, jnp.where(denominator < 0, -least, least), denominator)
    inverse = jnp.where(nonzero, 1 / far, 0)
    return found, tangents[0] * inverse - found * (tangents[1] * inverse)


# what exponentials of at most 1 are multiplied by, a power of two: nothing is rounded
RAISED = 2.0**16


@jax.custom_jvp
def raised_exp(logs: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(logs) times `RAISED`, which keeps products of two such numbers, and their gradients, away from underflow."""
    return RAISED * jnp.exp(logs)


@raised_exp.defjvp
def _raised_exp_jvp(primals, tangents):
    # by the factor itself, what comes back would be multiplied first, and overflow where the exponential is 0
    found = raised_exp(*primals)
    return found, found * tangents[0]


def log(mass: Float[Array, "..."]) -> Float[Array, "..."]:
    """The natural log, and -inf where the mass is 0, with a gradient of 0 there; of no number, none."""
    nothing = mass <= 0
    return jnp.where(nothing, -jnp.inf, jnp.log(jnp.where(nothing, 1, mass)))


def length(vectors: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """The Euclidean length along the first axis, and 0 for a vector of zeros, with a gradient of 0 there."""
    squares = jnp.square(vectors).sum(0)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def x_log_x(weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """w log w, in nats times w; 0 at 0, where its slope is left 0; of no number, none."""
    nothing = weights <= 0
    return jnp.where(nothing, 0, weights * jnp.log(jnp.where(nothing, 1, weights)))


def running_sum(terms: Float[Array, "n ..."]) -> tuple[Float[Array, "n ..."], Float[Array, "n ..."]]:
    """Inclusive prefix sums along the first axis as two floats, high + low, whose differences keep full precision.

    A float32 prefix sum of 65536 log gates loses 2e-3 in the differences that attention reads; the low part holds
    what rounding took. It has no gradient of its own: the derivative of the exact sum is that of the high part.
    """
    high = jnp.cumsum(terms, axis=0)
    exact, rest = lax.associative_scan(_add_pairs, lax.stop_gradient((terms, jnp.zeros_like(terms))), axis=0)
    return high, lax.stop_gradient((exact - high) + rest)


def between(terms: Float[Array, "n ..."], rows: Int[Array, " r"]) -> Float[Array, "r n ..."]:
    """The sum of the terms behind each one, up to the row's own: what lies between the two, 0 where nothing does.

    No other term has part in it. Differences of running sums lose digits to a large term in front of both, and behind
    -inf they are NaN.
    """
    upto = jnp.arange(len(terms))[None] <= rows[:, None]
    counted = jnp.where(upto.reshape(*upto.shape, *[1] * (terms.ndim - 1)), terms[None], 0)
    # each one and all behind it, then without itself: to take it off again would be such a difference
    later = lax.cumsum(counted, 1, reverse=True)
    return jnp.concatenate([later[:, 1:], jnp.zeros_like(later[:, :1])], 1)


def _add_pairs(a, b):
    # Knuth's two-sum: what rounding took from the high parts goes to the low part
    total = a[0] + b[0]
    part = total - a[0]
    lost = (a[0] - (total - part)) + (b[0] - part) + a[1] + b[1]
    high = total + lost
    return high, lost - (high - total)


def toeplitz(line: Float[Array, "h n"], rows: int) -> Float[Array, "h rows s"]:
    """The matrix whose diagonals hold one number each, from the line of these numbers, that of the lower left first."""
    # a slice a row: to pad, repeat and fold the line instead takes three times as long on CPU, and twenty on a TPU
    columns = line.shape[1] - rows + 1
    starts = rows - 1 - jnp.arange(rows)
    return jax.vmap(lambda start: lax.dynamic_slice_in_dim(line, start, columns, 1), out_axes=1)(starts)


def by_offset(
    find: Callable[[Int[Array, "..."]], Float[Array, "h ..."]],
    query: Int[Array, " t"],
    key: Int[Array, " s"],
    find_pairs: Callable[[], Float[Array, "h t s"]] | None = None,
) -> Float[Array, "h t s"]:
    """What `find` gives for query position minus key position, looked up once an offset where positions run on by 1.

    There t + s - 1 look-ups serve all t s pairs. Elsewhere `find_pairs` gives all of them, or `find` of each.
    """
    rows, columns = query.shape[0], key.shape[0]

    def by_line():
        return toeplitz(find(query[0] - key[0] + rows - 1 - jnp.arange(rows + columns - 1)), rows)

    # what it keeps for its gradient would be made, as zeros, in the other branch too
    @jax.checkpoint
    def by_pair():
        return find_pairs() if find_pairs else find(query[:, None] - key[None, :])

    if 0 in (rows, columns):
        return by_pair()
    running = (query[1:] - query[:-1] == 1).all() & (key[1:] - key[:-1] == 1).all()
    return lax.cond(running, by_line, by_pair)
