"""The weights of some rows, for a look at them: what a query gives to each key, by any combination of parts.

Source: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015,
arXiv:1409.0473, section 5.2.1 (figure 3, the weights as a picture).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.engines import dense
from jattn.mechanisms import Layout, Mechanism, Split, checks
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Attended, Dims, Rng, Variables, part


@part
class _Rows(Mechanism):
    """The weights of the queries that its buffer `rows` names, in place of an output; scores still see all queries."""

    inner: Attention = Attention()

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Any) -> Attended:
        arguments, _ = self.inner.arguments(own["inner"], split, layout, rng, None)
        rule, theirs, query, key, _, place, pairs = arguments
        rows = own["rows"]
        some = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], query._replace(length=None))
        pairs = pairs._replace(**{name: _of_rows(getattr(pairs, name), rows) for name in ("mask", "bias")})
        return Attended(dense.weights(rule, theirs, some._replace(length=query.length), key, place, pairs), None)


def attention_weights(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    attention: Attention = Attention(),
    *,
    variables: Variables | None = None,
    layout: Layout | None = None,
    rows: slice | Int[np.ndarray, " r"] | None = None,
) -> Float[Array, "*b h r s"]:
    """What each of some queries, `rows`, gives to each key, before dropout; 0 where it sees none.

    `rows` is what NumPy indexes an axis with, known when traced: a slice, whole numbers or booleans; None is all, in
    memory that grows with t times s. Other arguments as in `attend`. Raises IndexError for a row that is not there.
    """
    if not isinstance(attention, Attention):
        raise TypeError(f"Weights are those of an Attention, got {type(attention).__name__}; build one of its parts.")
    if attention.context_axis is not None:
        raise ValueError(
            f"Weights are looked at with all keys on each device, got Attention.context_axis="
            f"{attention.context_axis!r}; leave it out."
        )
    layout = Layout() if layout is None else layout
    checks.kinds(attention, layout, variables, None)
    checks.arrays(query, key, key, layout)
    # by the paths that the caller knows
    checks.variables(attention, attention.own(variables), Dims.of(query, key, key[..., :0]))
    params, buffers = variables or Variables({}, {})
    chosen = _chosen(query.shape[-3], rows)
    held = Variables({"inner": params}, {"inner": buffers, "rows": chosen})
    return attend(query, key, key[..., :0], _Rows(attention), variables=held, layout=layout).out


def _chosen(queries: int, rows: Any) -> np.ndarray:
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


def _of_rows(array: Array | None, rows: np.ndarray) -> Array | None:
    return array if array is None or array.shape[1] == 1 else array[:, rows]
