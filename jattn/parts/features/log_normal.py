"""Exponentials of queries and keys, at temperatures that give log weights the variance that softmax's have.

Source: Nahshan, Kampeas, Haleva, "Linear Log-Normal Attention with Unbiased Concentration", ICLR 2024,
arXiv:2311.13541, section 4; the two constants of the fit from the released code.
Departs: the standard deviations lie in buffers that a training step renews from the tokens of the step before it, where
the released code measures all tokens of the batch in each call, the later ones too; no number is added to denominators.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jattn.numerics import RAISED, divide, raised_exp, wide
from jattn.part import Dims, Place, Side, part
from jattn.parts.features import Feature, Mapped, Role

# variance of log weights = 2 SLOPE s^2 + OFFSET, for exponentials of deviation s on both sides
SLOPE, OFFSET = 0.14855178144710912, -0.35487039130661086


def temperatures(query: Float[Array, ""], key: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The factors of queries and of keys that have these standard deviations."""
    deviation = jnp.sqrt((jnp.square(query * key) - OFFSET) / (2 * SLOPE))
    return deviation / query, deviation / key


def moments(side: Side) -> Float[Array, " 3"]:
    """How many numbers the valid vectors of a side hold, their sum and the sum of their squares."""
    x = side.vector.astype(wide(side.vector.dtype))
    seen = jnp.ones(len(x), x.dtype) if side.valid is None else side.valid.astype(x.dtype)
    x = x * seen[:, None, None]
    return jnp.stack([seen.sum() * x.shape[1] * x.shape[2], x.sum(), jnp.square(x).sum()])


@part
class LogNormal(Feature):
    """As many features as the width. Buffers hold the deviations, at first those given here.

    Each training step renews them from what the step before it saw: the squares keep the share `momentum` of what they
    were, 0 takes one step alone, and 1 keeps those given. Evaluation and decoding renew nothing.
    """

    query_deviation: float = 1.0
    key_deviation: float = 1.0
    momentum: float = 0.9

    def __post_init__(self):
        for name in ("query_deviation", "key_deviation"):
            given = getattr(self, name)
            if not 0 < given < math.inf:
                raise ValueError(
                    f"LogNormal.{name} must be above 0 and finite, got {given}; normalized queries and keys "
                    f"have deviation 1."
                )
        if not 0 <= self.momentum <= 1:
            raise ValueError(
                f"LogNormal.momentum must lie in 0 to 1, got {self.momentum}; 1 keeps the deviations that are given."
            )

    def buffers(self, rng: Array, dims: Dims) -> dict:
        return {name: jnp.float32(getattr(self, name)) for name in ("query_deviation", "key_deviation")}

    def observe(self, own: dict, query: Side, key: Side, place: Place) -> dict:
        return {"query": lax.stop_gradient(moments(query)), "key": lax.stop_gradient(moments(key))}

    def refresh(self, own: dict, observed: dict, rng: Array, step: Int[Array, ""]) -> dict:
        fresh = {}
        for role, (count, total, squares) in observed.items():
            kept = own[f"{role}_deviation"]
            variance = divide(squares, count) - jnp.square(divide(total, count))
            renewed = jnp.sqrt(self.momentum * jnp.square(kept) + (1 - self.momentum) * jnp.maximum(variance, 0))
            # before the first step nothing was seen, and what does not vary has no temperature
            fresh[f"{role}_deviation"] = jnp.where(variance > 0, renewed, kept).astype(kept.dtype)
        return fresh

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        factor = dict(zip(("query", "key"), temperatures(own["query_deviation"], own["key_deviation"]), strict=True))
        u = side.vector * factor[role].astype(side.vector.dtype)
        # what is divided by it is multiplied by it again
        level = lax.stop_gradient(u.max(-1))
        return raised_exp(u - level[..., None]), level - math.log(RAISED)
