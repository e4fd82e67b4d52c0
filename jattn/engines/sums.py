"""What keys amount to: sums that scale with the largest of their factors, and lose little however many are added.

Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, arXiv:2006.16236, section 3.3 (the sums); Kahan,
"Further Remarks on Reducing Truncation Errors", CACM 8(1), 1965 (what rounding takes is added to the next term).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


class Sums(NamedTuple):
    """What keys amount to, a head, each scaled by exp(its log factor - `level`) so that nothing overflows.

    `total` and `mass` are sums of features, with and without values; `values` and `count` are sums without features,
    for the floor under them. `low` is what rounding took from `total` and `mass` where tokens come one by one.
    """

    level: Float[Array, "*h #f"]
    total: Float[Array, "*h e f"]
    mass: Float[Array, "*h f"]
    values: Float[Array, "*h e"]
    count: Float[Array, "*h"]
    low: tuple[Float[Array, "*h e f"], Float[Array, "*h f"]] | None


def kept_low(sums: Sums) -> Sums:
    """The sums, with nothing taken yet where that was not kept."""
    return sums if sums.low else sums._replace(low=(jnp.zeros_like(sums.total), jnp.zeros_like(sums.mass)))


def added(floor: float, kept: Bool[Array, ""], spent: Float[Array, " #f"], earlier: Sums, later: Sums) -> Sums:
    """The sums of one head over both; where the earlier are kept, `spent` is the log of what is left of them."""
    before = jnp.where(kept, earlier.level + spent, -jnp.inf)
    level = leveled(floor, jnp.maximum(before, later.level))
    old, new = jnp.exp(before - finite(level)), jnp.exp(later.level - finite(level))
    bare = jnp.where(kept, jnp.exp(spent[0]), 0)
    low = (None, None) if earlier.low is None else (old[None] * earlier.low[0], old * earlier.low[1])
    total, low_total = compensated(old[None] * earlier.total, new[None] * later.total, low[0])
    mass, low_mass = compensated(old * earlier.mass, new * later.mass, low[1])
    return Sums(
        level,
        total,
        mass,
        bare * earlier.values + later.values,
        bare * earlier.count + later.count,
        None if earlier.low is None else (low_total, low_mass),
    )


def compensated(one: Array, other: Array, low: Array | None) -> tuple[Array, Array | None]:
    """Their sum with what rounding took before, and what it takes now; plain where that is not kept."""
    if low is None:
        return one + other, None
    other = other + low
    found = one + other
    return found, lax.stop_gradient(other - (found - one))


def leveled(floor: float, level: Array) -> Array:
    """The level as it is differentiated."""
    # what is divided by it is multiplied by it again, but for a floor, which is added in between
    return level if floor else lax.stop_gradient(level)


def finite(level: Array) -> Array:
    """The level, 0 for a row that sees no key."""
    return jnp.where(jnp.isfinite(level), level, 0)
