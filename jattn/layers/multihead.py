"""Attention as a layer: owns the arrays of a mechanism and of the projections into heads, and batches them.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.2.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.buffers import arrays, hold, renew
from jattn.layers.flow import Flow, Record
from jattn.layers.heads import Heads
from jattn.layers.split import attend
from jattn.mechanisms import Mechanism
from jattn.part import Dims


class MultiHead(nnx.Module):
    """Self-attention, and cross-attention where `flow.memory` is given; computes in the dtype of its input."""

    def __init__(self, attention: Mechanism, projection: Heads, dims: Dims, *, rngs: nnx.Rngs):
        self.attention = attention
        self.projection = projection
        self.dims = dims
        self.projecting = hold(projection.init(rngs.params(), dims), projection.AXES)
        self.attending = hold(attention.init(rngs.params(), dims))

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        if flow.memory is not None and flow.state is not None:
            raise ValueError(
                "MultiHead keeps no decoding state for flow.memory, got both; pass state=None, the memory is at hand."
            )
        variables = arrays(self.attending)
        own, mine = self.projection.own(arrays(self.projecting)), self.attention.own(variables)
        heads = (np.arange(self.dims.heads), self.dims.heads, self.dims.key_heads)
        layout = flow.layout if flow.layout.head else flow.layout._replace(head=heads)

        here = flow._replace(layout=layout)
        parts = self.projection.split(own, x, here)
        project = _batched(lambda x: self.attention.project(mine, x), x.ndim - 2)
        made = project(x)
        if made or parts.extra:
            other = made if flow.memory is None else project(flow.memory)
            extra = tuple(
                {**given, **split_off, **projected}
                for given, split_off, projected in zip(
                    _pair(layout.extra), _pair(parts.extra), (made, other), strict=True
                )
            )
            layout = layout._replace(extra=extra)
        found = attend(
            parts.query, parts.key, parts.value, self.attention,
            variables=variables, layout=layout, flow=flow,
        )  # fmt: skip
        out = found.out if parts.gates is None else found.out * parts.gates[..., None].astype(found.out.dtype)
        y, terms = self.projection.merge(own, out, parts, here)
        return y, flow._replace(state=found.state), Record(found.stats, terms)

    def state(self, batch: int, length: int, dtype: DTypeLike):
        """The empty decoding state, with leading axis b and room for `length` tokens."""
        dims = dataclasses.replace(self.dims, length=length)
        one = self.attention.state(dims, jnp.dtype(dtype), self.attention.own(arrays(self.attending)))
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), one)

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the buffers of the attention's parts from what they observed, and of the projection's from nothing."""
        keys = jax.random.split(rng)
        renew(self.attending, self.attention.refreshed(arrays(self.attending), observed, keys[0], step))
        renew(self.projecting, self.projection.refreshed(arrays(self.projecting), {}, keys[1], step))


def _batched(one: Callable, lead: int) -> Callable:
    for _ in range(lead):
        one = jax.vmap(one)
    return one


def _pair(extra) -> tuple:
    return extra if isinstance(extra, tuple) else (extra, extra)
