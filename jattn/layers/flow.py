"""What flows from layer to layer beside the activations, and what each layer reports."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from jattn.layers.axes import Axes
from jattn.mechanisms import Layout
from jattn.part import Rng, Stats


class Flow(NamedTuple):
    """Data that every layer may read.

    `memory` "... s m" is the other side of cross-attention; `shared` is a carry that later blocks reuse; `state` is
    what decoding carries, `None` in and `None` out; `rng` is a key or `Rng`, and without one there is no noise; `axes`
    says how a mesh of devices splits activations; `stream` is what a block adds its mixer's output to, before its norm,
    and None outside of blocks.
    """

    layout: Layout = Layout()
    memory: Float[Array, "... s m"] | None = None
    shared: Any = None
    state: Any = None
    rng: Array | Rng | None = None
    axes: Axes | None = None
    stream: Float[Array, "... t m"] | None = None


class Record(NamedTuple):
    """What one place of a stack reports: statistics of its rows, and weighted scalars that a loss may add."""

    stats: Stats | None
    terms: dict


class Places(NamedTuple):
    """One entry for each place of a stack's pattern; those of `repeat` have a leading layer axis."""

    first: tuple = ()
    repeat: tuple = ()
    last: tuple = ()


def for_layer(rng: Array | Rng | None, layer: Any) -> Array | Rng | None:
    """The key of one layer; the model's own key, `Rng.step`, stays the same in all of them."""
    if rng is None:
        return None
    if not isinstance(rng, Rng):
        return jax.random.fold_in(rng, layer)
    fold = jax.random.fold_in
    return Rng(rng.step, fold(rng.call, layer), jax.vmap(fold, (0, None))(rng.example, layer))
