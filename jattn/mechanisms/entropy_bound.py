"""The least entropy of a row whose logits have at most a given norm: how far attention can collapse.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, theorem 3.1.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import known, wide


def entropy_lower_bound(norm: Float[Array, "..."], tokens: int) -> Float[Array, "..."]:
    """In nats, for rows of so many keys; log(tokens) at 0, about tokens * norm * exp(-norm) where the norm is large.

    `norm` bounds the Euclidean norm of the row's logits, scale included: the spectral norms of W_K W_Q^T and of X X^T
    multiplied, times 1 / sqrt(d) where logits are. Of rows that see fewer keys, as causal ones, give their number. The
    theorem knows no bias and no mask. Raises ValueError for fewer than 1 token, and for a norm known to be below 0.
    """
    _check(norm, tokens)
    norm = jnp.asarray(norm)
    norm = norm.astype(wide(norm.dtype))
    if tokens == 1:
        return jnp.zeros_like(norm)
    others = tokens - 1
    mass = others * jnp.exp(-norm * (tokens / others) ** 0.5)
    return jnp.log1p(mass) + norm * (tokens / others) ** 0.5 * mass / (1 + mass)


def tightest_row(norm: Float[Array, ""], tokens: int) -> Float[Array, " s"]:
    """The logits of that norm whose entropy is the bound: one above all others, which are equal, and a mean of 0."""
    _check(norm, tokens)
    norm = jnp.asarray(norm)
    norm = norm.astype(wide(norm.dtype))
    if tokens == 1:
        return norm[None]
    low = -norm / (tokens * (tokens - 1)) ** 0.5
    return jnp.full(tokens, low).at[0].set(norm * ((tokens - 1) / tokens) ** 0.5)


def _check(norm: Any, tokens: int) -> None:
    if tokens < 1:
        raise ValueError(f"A row has at least 1 key, got {tokens}; give the number that it sees.")
    if (held := known(norm)) is not None and not (held >= 0).all():
        raise ValueError(
            f"The norm of a row's logits is at least 0, got {held.min():.10g}; give the product of spectral norms."
        )
