"""A penalty on heads whose entropy leaves a band around a learned share of the largest possible.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, algorithm 1 ("head_mean"); the
authors' code reduces otherwise ("sum_queries"), and is what the published weight of 1e-5 was chosen for.
"""

from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn.mechanisms import checks
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

    Raises ValueError for shapes that do not fit, and for a tolerance or thresholds that are no shares of the ceiling.
    Of traced thresholds those are clipped, and have the gradient that they would have at the nearer end.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"A reduction must be one of {', '.join(get_args(Reduction))}, got {reduction!r}.")
    check_tolerance("The tolerance", tolerance)
    _check_shapes(entropy, threshold, {"ceiling": ceiling} | ({} if valid is None else {"valid": valid}))
    checks.share("Thresholds", threshold, "they are shares of the ceiling, as 0.5")
    counts = jnp.ones(entropy.shape, bool) if valid is None else jnp.asarray(valid)
    ceiling = jnp.broadcast_to(ceiling, entropy.shape)
    wanted = clipped(jnp.asarray(threshold))[:, None, None, :] * ceiling
    if reduction == "sum_queries":
        each = beyond(entropy - wanted, tolerance * ceiling)
        return jnp.where(counts, each, 0).sum((1, 2)).mean()
    entropy, wanted, room = (_mean(x, counts) for x in (entropy, wanted, tolerance * ceiling))
    return beyond(entropy - wanted, room).mean()


def check_tolerance(name: str, value: Any) -> None:
    """Refuses what is no share of the ceiling, under the name that the caller gives it."""
    checks.share(name, value, "a share of the ceiling, as 0.2")


def clipped(share: Float[Array, "l h"]) -> Float[Array, "l h"]:
    """A learned share as one that lies in [0, 1], with a slope of 1 everywhere.

    That of a clip is 0 outside, from where a share that an optimizer's step has pushed there would never come back.
    """
    return lax.stop_gradient(jnp.clip(share, 0, 1)) + (share - lax.stop_gradient(share))


def beyond(distance: Float[Array, "..."], room: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square of a distance outside the room that it has, and 0 inside."""
    return jnp.where(jnp.abs(distance) > room, distance, 0) ** 2


def _check_shapes(entropy: Any, threshold: Any, others: dict[str, Any]) -> None:
    shape = np.shape(entropy)
    if len(shape) != 4:
        raise ValueError(
            f"The entropy has the axes [layers, batch, rows, heads], got shape {shape}; stack that of all layers."
        )
    if np.shape(threshold) != (shape[0], shape[3]):
        raise ValueError(
            f"Thresholds are one for each of {shape[0]} layers and {shape[3]} heads, got shape {np.shape(threshold)}; "
            f"make them by jnp.full(({shape[0]}, {shape[3]}), 0.5)."
        )
    for name, array in others.items():
        held = np.shape(array)
        if len(held) != 4 or any(n not in (1, size) for n, size in zip(held, shape, strict=True)):
            raise ValueError(
                f"The argument {name} has the shape of the entropy, {shape}, or 1 in place of some, got {held}; add "
                f"or broadcast its axes."
            )


def _mean(x: Float[Array, "l b t h"], counts: Bool[Array, "l b t h"]) -> Float[Array, "l h"]:
    return divide(jnp.where(counts, x, 0).sum((1, 2)), counts.sum((1, 2)).astype(x.dtype))
