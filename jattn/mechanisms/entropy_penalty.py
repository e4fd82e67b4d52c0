"""A penalty on heads whose entropy leaves a band around a learned share of the largest possible.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, algorithm 1 ("head_mean"); the
authors' code reduces otherwise ("sum_queries"), and is what the published weight of 1e-5 was chosen for.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn.numerics import divide

Reduction = Literal["sum_queries", "head_mean"]


def entropy_penalty(
    entropy: Float[Array, "l b t h"],
    threshold: Float[Array, "l h"],
    ceiling: Float[Array, "#l #b #t #h"],
    *,
    valid: Bool[Array, "l b t h"] | None = None,
    tolerance: float = 0.2,
    reduction: Reduction = "sum_queries",
) -> Float[Array, ""]:
    """The mean over layers and heads of squared distances, in nats squared, from `threshold` times `ceiling`.

    A distance of at most `tolerance` times the ceiling counts as 0, with a gradient of exactly 0. "sum_queries" takes
    those of single rows and sums them over batch and rows; "head_mean" the one of each head's mean over `valid` rows,
    which is as much smaller as the batch has rows. Rows that are not valid count nothing.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"A reduction must be one of {', '.join(get_args(Reduction))}, got {reduction!r}.")
    counts = jnp.ones(entropy.shape, bool) if valid is None else jnp.asarray(valid)
    ceiling = jnp.broadcast_to(ceiling, entropy.shape)
    wanted = threshold[:, None, None, :] * ceiling
    if reduction == "sum_queries":
        each = beyond(entropy - wanted, tolerance * ceiling)
        return jnp.where(counts, each, 0).sum((1, 2)).mean()
    entropy, wanted, room = (_mean(x, counts) for x in (entropy, wanted, tolerance * ceiling))
    return beyond(entropy - wanted, room).mean()


def beyond(distance: Float[Array, "..."], room: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square of a distance outside the room that it has, and 0 inside."""
    return jnp.where(jnp.abs(distance) > room, distance, 0) ** 2


def _mean(x: Float[Array, "l b t h"], counts: Bool[Array, "l b t h"]) -> Float[Array, "l h"]:
    return divide(jnp.where(counts, x, 0).sum((1, 2)), counts.sum((1, 2)).astype(x.dtype))
