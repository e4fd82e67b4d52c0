"""The weights of some rows, for a look at them: what a query gives to each key, by any combination of parts.

Source: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015,
arXiv:1409.0473, section 5.2.1 (figure 3, the weights as a picture).
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.mechanisms import Layout, Mechanism, Split, checks
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Attended, Dims, Rng, Stats, Variables, part


@part
class _Rows(Mechanism):
    """The weights of the queries that its buffer `rows` names, in place of an output."""

    inner: Mechanism = Attention()

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Any) -> Attended:
        found = self.inner.weights(own["inner"], split, layout, rng, own["rows"])
        return Attended(found, Stats(None, None, None, None, {}))


def attention_weights(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    attention: Mechanism = Attention(),
    *,
    variables: Variables | None = None,
    layout: Layout | None = None,
    rows: slice | Int[np.ndarray, " r"] | None = None,
) -> Float[Array, "*b h r s"]:
    """What each of some queries, `rows`, gives to each key, before dropout; 0 where it sees none.

    `rows` is what NumPy indexes an axis with, known when traced: a slice, whole numbers or booleans; None is all, in
    memory that grows with t times s. Linear attention, which makes no weights by itself, has them here too: products of
    features, and what they are divided by. Other arguments as in `attend`. Raises IndexError for a row that is not
    there.
    """
    if not isinstance(attention, Mechanism):
        raise TypeError(
            f"Weights are those of an Attention or another mechanism, got {type(attention).__name__}; build one of its "
            f"parts."
        )
    if getattr(attention, "context_axis", None) is not None:
        raise ValueError(
            f"Weights are looked at with all keys on each device, got {type(attention).__name__}.context_axis="
            f"{attention.context_axis!r}; leave it out."
        )
    layout = Layout() if layout is None else layout
    checks.kinds(attention, layout, variables, None)
    checks.arrays(query, key, key, layout)
    # by the paths that the caller knows
    checks.variables(attention, attention.own(variables), Dims.of(query, key, key[..., :0]))
    params, buffers = variables or Variables({}, {})
    held = Variables({"inner": params}, {"inner": buffers, "rows": chosen(query.shape[-3], rows)})
    return attend(query, key, key[..., :0], _Rows(attention), variables=held, layout=layout).out


def chosen(queries: int, rows: Any) -> np.ndarray:
    """The numbers of the rows that index `queries` of them."""
    if isinstance(rows, slice | None):
        return np.arange(queries)[slice(None) if rows is None else rows]
    if isinstance(rows, jax.Array | int | list | np.ndarray | np.integer):
        try:
            rows = np.atleast_1d(np.asarray(rows))
        except jax.errors.TracerArrayConversionError:
            rows = np.zeros(0)
        if rows.ndim == 1 and rows.dtype.kind in "iub":
            return np.arange(queries)[rows]
    raise TypeError(
        f"Rows are a slice, whole numbers or booleans, known when traced, got {checks.kind(rows)}; pass an array."
    )
