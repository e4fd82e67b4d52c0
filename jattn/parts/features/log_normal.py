"""Exponentials of queries and keys, at temperatures that give log weights the variance that softmax's have.

Source: Nahshan, Kampeas, Haleva, "Linear Log-Normal Attention with Unbiased Concentration", ICLR 2024,
arXiv:2311.13541, section 4; the two constants of the fit from the released code.
Departs: the standard deviations are kept in buffers, where the released code measures all tokens of the batch in each
call, the later ones too; no number is added to denominators.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn.numerics import wide
from jattn.part import Dims, Place, Side, part
from jattn.parts.features import Feature, Mapped, Role

# variance of log weights = 2 SLOPE s^2 + OFFSET, for exponentials of deviation s on both sides
SLOPE, OFFSET = 0.14855178, -0.35487039


def temperatures(query: Float[Array, ""], key: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The factors of queries and of keys that have these standard deviations."""
    deviation = jnp.sqrt((jnp.square(query * key) - OFFSET) / (2 * SLOPE))
    return deviation / query, deviation / key


def deviations(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    valid: tuple[Bool[Array, "*b t"], Bool[Array, "*b s"]] | None = None,
) -> dict[str, Float[Array, ""]]:
    """The buffers of `LogNormal` as the paper measures them, over all tokens and heads, without a gradient."""

    def one(x, seen):
        seen = None if seen is None else seen[..., None, None]
        return lax.stop_gradient(jnp.std(x, dtype=wide(x.dtype), where=seen))

    seen = (None, None) if valid is None else valid
    return {"query_deviation": one(query, seen[0]), "key_deviation": one(key, seen[1])}


@part
class LogNormal(Feature):
    """As many features as the width. Until `deviations` replaces them, buffers hold the deviations given here.

    Training does not renew them.
    """

    query_deviation: float = 1.0
    key_deviation: float = 1.0

    def __post_init__(self):
        for name in ("query_deviation", "key_deviation"):
            given = getattr(self, name)
            if not given > 0:
                raise ValueError(
                    f"LogNormal.{name} must be above 0, got {given}; normalized queries and keys have deviation 1."
                )

    def buffers(self, rng: Array, dims: Dims) -> dict:
        return {name: jnp.float32(getattr(self, name)) for name in ("query_deviation", "key_deviation")}

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        factor = dict(zip(("query", "key"), temperatures(own["query_deviation"], own["key_deviation"]), strict=True))
        u = side.vector * factor[role].astype(side.vector.dtype)
        # what is divided by it is multiplied by it again
        level = lax.stop_gradient(u.max(-1))
        return jnp.exp(u - level[..., None]), level
