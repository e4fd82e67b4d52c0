"""From a layer's input through heads, attention and heads again to its output, with arrays that are given.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.flow import Flow, Record
from jattn.layers.heads import Heads
from jattn.layers.split import attend
from jattn.mechanisms import Mechanism
from jattn.part import Dims, Variables

# arrays of the projections into heads and out of them, and of the attention
Given = tuple[Variables, Variables]


class _Decoding(NamedTuple):
    """What decoding carries where the projections carry something too."""

    attention: Any
    projection: Any


def apply(
    projection: Heads, attention: Mechanism, given: Given, dims: Dims, x: Float[Array, "*b t m"], flow: Flow
) -> tuple[Float[Array, "*b t m"], Flow, Record]:
    """Self-attention, and cross-attention where `flow.memory` is given; computes in the dtype of `x`.

    Raises ValueError for a decoding state with a memory, and for one of other sizes than this layer's.
    """
    if flow.memory is not None and flow.state is not None:
        raise ValueError(
            "MultiHead keeps no decoding state for flow.memory, got both; pass state=None, the memory is at hand."
        )
    own, mine = projection.own(given[0]), attention.own(given[1])
    theirs, ours = (None, None) if flow.state is None else _taken(projection, own, dims, x, flow.state)
    heads = (np.arange(dims.heads), dims.heads, dims.key_heads)
    layout = flow.layout if flow.layout.head else flow.layout._replace(head=heads)

    here = flow._replace(layout=layout, state=ours)
    parts = projection.split(own, x, here)
    project = _batched(lambda x: attention.project(mine, x), x.ndim - 2)
    made = project(x if parts.heard is None else parts.heard)
    if made or parts.extra:
        other = made if flow.memory is None else project(flow.memory)
        extra = tuple(
            {**told, **split_off, **projected}
            for told, split_off, projected in zip(_pair(layout.extra), _pair(parts.extra), (made, other), strict=True)
        )
        layout = layout._replace(extra=extra)
    found = attend(
        parts.query, parts.key, parts.value, attention,
        variables=given[1], layout=layout, flow=flow._replace(state=theirs),
    )  # fmt: skip
    out = found.out if parts.gates is None else found.out * parts.gates[..., None].astype(found.out.dtype)
    y, terms = projection.merge(own, out, parts, here)
    state = found.state if ours is None else _Decoding(found.state, parts.state)
    return y, flow._replace(state=state), Record(found.stats, terms)


def start(
    projection: Heads, attention: Mechanism, given: Given, dims: Dims, batch: tuple[int, ...], dtype: DTypeLike
) -> Any:
    """The empty decoding state, with leading axes `batch` and room for `dims.length` tokens."""
    kind = jnp.dtype(dtype)
    held = projection.state(projection.own(given[0]), dims, kind)
    one = attention.state(dims, kind, attention.own(given[1]))
    one = one if held is None else _Decoding(one, held)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch, *leaf.shape)), one)


def _taken(projection: Heads, own: dict, dims: Dims, x: Float[Array, "*b t m"], state: Any) -> _Decoding:
    """The attention's state and that of the projections, if they carry any; refuses one of another layer."""
    held = jax.eval_shape(lambda: projection.state(own, dims, x.dtype))
    theirs, ours = state if isinstance(state, _Decoding) else (state, None)
    batch = x.shape[:-2]
    want, got = (
        [(jax.tree_util.keystr(path), _kind(leaf, lead)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
        for tree, lead in ((held, 0), (ours, len(batch)))
    )
    if want != got:
        name = type(projection).__name__
        raise ValueError(
            f"A decoding state goes on in the layer that it is of, got {_listed(got)} of {name} where this one carries "
            f"{_listed(want)}; start one by this model's state."
        )
    return _Decoding(theirs, ours)


def _kind(leaf: Any, lead: int) -> str:
    """The shape behind the leading axes, and of which numbers where they are complex."""
    return f"{leaf.shape[lead:]}{' complex' if jnp.iscomplexobj(leaf) else ''}"


def _listed(kinds: list) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in kinds) or "nothing"


def _batched(one: Callable, lead: int) -> Callable:
    for _ in range(lead):
        one = jax.vmap(one)
    return one


def _pair(extra: Any) -> tuple:
    return extra if isinstance(extra, tuple) else (extra, extra)
