"""Attends to pieces of a context that were encoded apart: to all of them, or in each row to the best few.

Source: Zhang et al., "Attention Entropy is a Key Factor: An Analysis of Parallel Context Encoding with
Full-attention-based Pre-trained Language Models", ACL 2025, arXiv:2412.16545 (selective attention: the pieces whose
five largest weights have the largest sum).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jattn.engines.merge import merge
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Attended, Stats, Variables
from jattn.parts.normalizers.softmax import Softmax
from jattn.parts.normalizers.top_k import TopK

# a pair of keys and values
Piece = tuple[Float[Array, "*b s g d"], Float[Array, "*b s j e"]]


def parallel_attention(
    query: Float[Array, "*b t h d"],
    pieces: Sequence[Piece],
    attention: Attention = Attention(),
    *,
    always: Sequence[Piece] = (),
    kept: int | None = None,
    top: int = 5,
    variables: Variables | None = None,
) -> Attended:
    """Attention over the keys of all pieces, or of the `kept` best of them, which each row and head chooses.

    A piece is as good as the sum of its `top` largest weights; the others get no weight, and what is left sums to 1.
    Keys of `always`, as shared sinks and what a query has before itself, are never dropped. Keys and queries are turned
    already, where positions turn them: those of all pieces begin behind the sinks, those of the query behind the
    longest piece. The choice has no gradient.
    """
    _check(attention, len(pieces), kept)

    def over(piece: Piece) -> Attended:
        return attend(query, *piece, attention, variables=variables)

    found = [over(piece) for piece in pieces]
    if kept is not None:
        best = dataclasses.replace(attention, normalizer=TopK(top))
        # all pieces share a row's denominator, so the sums are in the order of the weights'
        sums = [attend(query, key, value[..., :0], best, variables=variables).stats for key, value in pieces]
        order = lax.stop_gradient(jnp.stack([each.log_normalizer for each in sums], -1))
        _, chosen = lax.top_k(order, kept)
        found = [_where((chosen == number).any(-1), each) for number, each in enumerate(found)]
    return functools.reduce(merge, [*found, *map(over, always)])


def _where(keep: Bool[Array, "... t h"], found: Attended) -> Attended:
    """Rows that are kept, and rows that see no key."""
    nothing = Stats(0.0, -jnp.inf, -jnp.inf, 0, {})
    fields = ("entropy", "log_normalizer", "max_logit", "visible")
    rows = {name: jnp.where(keep, getattr(found.stats, name), getattr(nothing, name)) for name in fields}
    return Attended(jnp.where(keep[..., None], found.out, 0), found.stats._replace(**rows))


def _check(attention: Attention, pieces: int, kept: int | None) -> None:
    if attention.normalizer != Softmax():
        raise ValueError(
            f"Pieces are joined and chosen by softmax weights, got the normalizer "
            f"{type(attention.normalizer).__name__}; leave it out."
        )
    if not pieces:
        raise ValueError("parallel_attention needs at least 1 piece, got none; for one text call jattn.attend.")
    if kept is not None and not 1 <= kept <= pieces:
        raise ValueError(
            f"kept must be at least 1 and at most the number of pieces, {pieces}, got {kept}; leave it out for all."
        )
