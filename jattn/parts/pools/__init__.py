"""The slot `pools`: many tokens to a few rows, each a mean of the tokens by weights of its own."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import divide, log, wide, x_log_x
from jattn.part import Part, Rng, Side, Stats


class Pooled(NamedTuple):
    """The rows, the weights that made them, which sum to 1, and their statistics "r"; of no token, 0 and no entropy."""

    out: Float[Array, "r m"]
    weights: Float[Array, "r n"]
    stats: Stats


class Pool(Part):
    """Pools the tokens of one example, of which those that are not valid count nothing.

    `kernels` names those of its params that are kernels of linear maps, inputs first.
    """

    kernels: ClassVar[tuple[str, ...]] = ()

    def apply(
        self, own: dict, x: Float[Array, "n m"], side: Side, bias: Float[Array, " n"] | None, rng: Rng | None
    ) -> Pooled:
        """The rows; `bias` is added to the logits of the tokens; noise acts iff `rng` is given."""
        raise NotImplementedError


def pooled(x: Float[Array, "n m"], logits: Float[Array, "r n"], side: Side, bias: Float[Array, " n"] | None) -> Pooled:
    """The softmax of each row's logits over the tokens that are valid, and the means by it."""
    dtype = wide(x.dtype)
    logits = logits.astype(dtype) if bias is None else logits.astype(dtype) + bias[None]
    seen = jnp.ones(x.shape[0], bool) if side.valid is None else side.valid
    top = jnp.max(logits, -1, initial=-jnp.inf, where=seen)
    # of no token the shift is 0: -inf minus -inf is not a number
    shift = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    mass = jnp.where(seen, jnp.exp(jnp.where(seen, logits - shift[:, None], 0)), 0)
    total = mass.sum(-1)
    weights = divide(mass, total[:, None])
    # a weight of 0 times a padded NaN is NaN
    value = jnp.where(seen[:, None], x, 0).astype(dtype)
    visible = jnp.broadcast_to(seen.sum(), total.shape)
    stats = Stats(-x_log_x(weights).sum(-1), shift + log(total), top, visible, {})
    return Pooled((weights @ value).astype(x.dtype), weights, stats)
