"""Joins results over disjoint keys, statistics included: ring, prefix, null slot and block selection are all this.

Source: Rabe, Staats, "Self-attention Does Not Need O(n^2) Memory", 2021, arXiv:2112.05682, section 3 (partial sums
with their maxima); the entropy of a mixture of disjoint parts is the chain rule of Shannon, 1948, section 6.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import divide, log, x_log_x
from jattn.part import Attended, Stats
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.softmax import Softmax


def merge(a: Attended, b: Attended, normalizer: Normalizer = Softmax()) -> Attended:
    """The result over the keys of both, for the same queries; `out` "... t h e", statistics "... t h".

    `normalizer` is the one that made both: nothing in a result tells it.

    Exponential weights are shared by log-normalizer, free ones add. A row that saw keys on one side only keeps that
    side; one that saw none stays empty. Ties of the largest logit are shared by side, not by key. `state` is None.
    Raises TypeError for what no call returned; ValueError for other queries, for a normalizer that looks at all keys,
    by a threshold, by `prepare` or by how many are visible, and for one with a null slot, which each side would count.
    """
    for found in (a, b):
        if not isinstance(found, Attended):
            raise TypeError(
                f"Results of calls are merged, got {type(found).__name__}; pass what jattn.attend returns, statistics "
                f"and all."
            )
    if a.out.shape != b.out.shape:
        raise ValueError(
            f"Results merge over keys, for the same queries, got outputs of shapes {a.out.shape} and {b.out.shape}; "
            f"attend with the same queries and with values of one width."
        )
    if not isinstance(normalizer, Normalizer):
        raise TypeError(
            f"The normalizer of results is the part that made both, got {type(normalizer).__name__}; build it, as in "
            f"jattn.normalizers.Softmax()."
        )
    if type(normalizer).null is not Normalizer.null:
        raise ValueError(
            f"A null slot is merged once, at the end, and {type(normalizer).__name__} adds one to each side; attend "
            f"without it, merge, then call jattn.engines.merge.add_mass."
        )
    whole = type(normalizer).prepare is not Normalizer.prepare
    if normalizer.kind == "threshold" or normalizer.visible or whole:
        why = (
            "looks at all keys first" if whole
            else "finds its threshold over all keys" if normalizer.kind == "threshold"
            else "divides by all visible keys"
        )  # fmt: skip
        raise ValueError(
            f"Results merge when a row's weights do not depend on the keys of the other side, and "
            f"{type(normalizer).__name__} {why}; gather the keys and attend once."
        )
    return join(a, b, normalizer.kind == "exponential")


def add_mass(
    attended: Attended, numerator: Float[Array, "... #t h e"] | None, level: Float[Array, "... t h"]
) -> Attended:
    """One more key of weight exp(level) and value `numerator` (None is 0) for every row that sees a key.

    Counted in the statistics, not in `visible`; exponential normalizers only.
    """
    level = level.astype(attended.stats.log_normalizer.dtype)
    there = attended.stats.visible > 0
    mass = jnp.where(there, level, -jnp.inf)
    out = jnp.zeros_like(attended.out) if numerator is None else numerator.astype(attended.out.dtype)
    stats = Stats(jnp.zeros_like(level), mass, mass, jnp.zeros_like(attended.stats.visible), {})
    return join(attended, Attended(out, stats), True)._replace(state=attended.state)


def join(a: Attended, b: Attended, shared: bool) -> Attended:
    """`merge` for weights of one kind: those that a row shares, or free ones."""
    weigh = [jnp.isfinite(x.stats.log_normalizer) for x in (a, b)]
    # exponentials of -inf minus -inf are never formed, so that gradients of empty rows stay 0
    safe = [jnp.where(w, x.stats.log_normalizer, 0) for w, x in zip(weigh, (a, b), strict=True)]
    top = jnp.maximum(jnp.where(weigh[0], safe[0], -jnp.inf), jnp.where(weigh[1], safe[1], -jnp.inf))
    # the shift cancels, so its gradient would be rounding only
    top = lax.stop_gradient(jnp.where(weigh[0] | weigh[1], top, 0))
    mass = [jnp.where(w, jnp.exp(jnp.where(w, s - top, 0)), 0) for w, s in zip(weigh, safe, strict=True)]
    total = mass[0] + mass[1]
    parts = [divide(m, total) for m in mass]
    out = sum(
        (p[..., None] * x.out if shared else x.out).astype(jnp.promote_types(x.out.dtype, p.dtype))
        for p, x in zip(parts, (a, b), strict=True)
    )
    entropy = sum(p * x.stats.entropy - x_log_x(p) for p, x in zip(parts, (a, b), strict=True))
    observed = a.stats.observed | {
        name: value + a.stats.observed[name] if name in a.stats.observed else value
        for name, value in b.stats.observed.items()
    }
    stats = Stats(
        entropy,
        top + log(total),
        jnp.maximum(a.stats.max_logit, b.stats.max_logit),
        a.stats.visible + b.stats.visible,
        observed,
    )
    return Attended(out.astype(a.out.dtype), stats)
