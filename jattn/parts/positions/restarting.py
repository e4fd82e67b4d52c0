"""Lets positions begin anew in each piece of a context, as if it alone followed the sink.

Source: Ratner et al., "Parallel Context Windows for Large Language Models", ACL 2023, arXiv:2212.10947, section 2.1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jattn.part import Place, Side, part
from jattn.parts.masks.apart import check_sizes
from jattn.parts.positions import Position
from jattn.parts.positions.rotary import Rotary


def restarted(position: Int[Array, " n"], sink: int, length: int, count: int) -> Int[Array, " n"]:
    """Where each position lies in the text of the sink, one piece and what comes behind the longest."""
    behind = position >= sink + count * length
    inside = jnp.where(position < sink, position, sink + (position - sink) % length)
    return jnp.where(behind, position - (count - 1) * length, inside)


@part
class Restarting(Position):
    """Another position over pieces that `jattn.masks.Apart` keeps apart, with the same options."""

    inner: Position = Rotary()
    sink: int = 1
    length: int = 2048
    count: int = 4

    def __post_init__(self):
        check_sizes("Restarting", self.sink, self.length, self.count)

    def turn(self, own: dict, vector: Float[Array, "n h d"], side: Side, place: Place) -> Float[Array, "n h d"]:
        position = restarted(jnp.asarray(side.position), self.sink, self.length, self.count)
        return self.inner.turn(own["inner"], vector, side._replace(position=position), place)
