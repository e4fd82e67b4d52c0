"""Adds to each token what says where it stands: a learned vector, or sines and cosines of its position.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.5; Devlin et al., "BERT",
NAACL 2019, arXiv:1810.04805, section 3 (learned).
Departs: sines lie in front of cosines, not between them, which is an order of the features alone; of several axes, as
an image has, each takes an equal share of the features.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jattn.layers.embeddings import DEVIATION

Kind = Literal["none", "learned", "sin_cos"]
KINDS = get_args(Kind)
# the longest wave, in tokens over 2 pi
LONGEST = 10_000.0


def sin_cos(positions: Int[Array, "*b t a"], width: int) -> Float[Array, "*b t m"]:
    """Features of positions on one or more axes: waves of geometrically growing length."""
    axes = positions.shape[-1]
    if width % (2 * axes):
        raise ValueError(
            f"Sines and cosines of {axes} axes need a width that is a multiple of {2 * axes}, got {width}; change it."
        )
    count = width // (2 * axes)
    rates = jnp.expand_dims(LONGEST ** (-jnp.arange(count) / count), tuple(range(positions.ndim)))
    angles = positions[..., None] * rates
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
    return waves.reshape(*positions.shape[:-1], width)


class AddedPositions(nnx.Module):
    """`length` is how many learned vectors there are; "none" adds nothing."""

    def __init__(self, kind: Kind, length: int, width: int, *, rngs: nnx.Rngs):
        if kind not in KINDS:
            raise ValueError(f"Positions must be one of {', '.join(KINDS)}, got {kind!r}; 'none' adds nothing.")
        self.kind = kind
        self.length = length
        learned = kind == "learned"
        self.table = nnx.Param(DEVIATION * jax.random.normal(rngs.params(), (length, width))) if learned else None

    def __call__(
        self, x: Float[Array, "*b t m"], positions: Int[Array, "*b t"] | None = None
    ) -> Float[Array, "*b t m"]:
        """`positions` are 0, 1, 2 ... where they are not given."""
        if self.kind == "none":
            return x
        where = jnp.arange(x.shape[-2]) if positions is None else positions
        if self.kind == "sin_cos":
            return x + jnp.broadcast_to(sin_cos(where[..., None], x.shape[-1]).astype(x.dtype), x.shape)
        if x.shape[-2] > self.length:
            raise ValueError(
                f"Learned positions must be as many as there are tokens, got {self.length} for {x.shape[-2]}; raise "
                f"the model's length, or use sin_cos."
            )
        return x + jnp.broadcast_to(self.table[...][where].astype(x.dtype), x.shape)
