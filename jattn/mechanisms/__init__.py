"""Named combinations of parts on an engine; no Flax. This file states what a mechanism is given and returns."""

from typing import Any, NamedTuple

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jattn.part import Attended, Dims, Part, Rng


class Layout(NamedTuple):
    """The data of one call; each field one array, or a (query, key) pair where the sides differ.

    `positions` and `segments` are integers, one a token; `valid` is a length or a boolean row; `mask` is boolean and
    `bias` floating, both "#h #t #s"; `extra` holds per-token arrays "n #heads ..." by name, and by part; `layer` counts
    from 0; `head` is (numbers, heads, key_heads) where this call holds some heads of a larger layer, `example` the
    numbers of its examples "*b" where it holds some of a larger batch.
    """

    positions: Any = None
    segments: Any = None
    valid: Any = None
    mask: Bool[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None
    extra: Any = {}
    layer: Int[Array, ""] | int = 0
    head: tuple | None = None
    example: Int[Array, "*b"] | None = None


class Split(NamedTuple):
    """One example as a mechanism gets it: heads, gates on them, per-token arrays or a pair of such, and its number.

    No mechanism sees the last three: `kept`, what the projection into heads hands on to that out of them; `state`, what
    it carries in decoding; `heard`, what parts of the attention project where that is not the layer's input.
    """

    query: Float[Array, "t h d"]
    key: Float[Array, "s g d"]
    value: Float[Array, "s j e"]
    gates: Float[Array, "t h"] | None = None
    extra: Any = {}
    example: Int[Array, ""] | int = 0
    kept: Any = None
    state: Any = None
    heard: Float[Array, "t m"] | None = None


class Mechanism(Part):
    """Attends for one example; may run several engines and merge their results."""

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        """Per-token arrays that parts make from a layer's input, nested by their path; goes into `Layout.extra`."""
        return {}

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Any) -> Attended:
        """Output, statistics and state of one example; without a state every token is new."""
        raise NotImplementedError

    def weights(
        self, own: dict, split: Split, layout: Layout, rng: Rng | None, rows: Int[np.ndarray, " r"]
    ) -> Float[Array, "h r s"]:
        """What some rows of one example give to each key, before dropout."""
        raise NotImplementedError

    def looks_ahead(self, dims: Dims) -> str | None:
        """Of a mechanism whose rows see tokens behind their own the option, and its value, that keeps them from it."""
        return None

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Any:
        """What decoding carries for one example, empty, with room for `dims.length` tokens."""
        raise NotImplementedError
