"""A residual block: a mixer over tokens, then a layer for each token alone.

Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020, arXiv:2002.04745, figure 1
(after the sum in a, before each half in b); Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025,
arXiv:2501.03489, section 4 (learned scales of the second half, which train where norms are gone).
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import constrained
from jattn.layers.dropout import drop
from jattn.layers.flow import Flow, Record
from jattn.layers.norms import EPSILON, Kind, Norm
from jattn.part import Stats

Place = Literal["before", "after"]
Residual = Literal["plain", "scaled"]
# where a record has what the norms of a block observed, beside what its mixer did
NORMS = "norms"


class Block(nnx.Module):
    """`mixer(x, flow) -> y, flow, record` and `feedforward(x, rng) -> y`, each added to the stream.

    A norm stands before each half, or after each sum. With a scaled residual the second sum is skip * x + y / divisor,
    two learned numbers that start at 1. A block whose `feedforward` is None ends with its first half;
    `dropout` acts on what another gives, where there is a key.
    """

    def __init__(
        self,
        mixer: nnx.Module,
        feedforward: nnx.Module | None,
        width: int,
        norm: Kind = "rms",
        place: Place = "before",
        residual: Residual = "plain",
        epsilon: float = EPSILON,
        dropout: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        if place not in get_args(Place):
            raise ValueError(f"A norm's place must be 'before' or 'after', got {place!r}; 'before' is the default.")
        if residual not in get_args(Residual):
            raise ValueError(f"A residual must be 'plain' or 'scaled', got {residual!r}; 'plain' is the default.")
        before, after = (norm, "none") if place == "before" else ("none", norm)
        self.dropout = dropout
        self.mixer = mixer
        self.feedforward = feedforward
        self.before_mixer = Norm(before, width, epsilon, rngs=rngs)
        self.after_mixer = Norm(after, width, epsilon, rngs=rngs)
        if feedforward is not None:
            self.before_feedforward = Norm(before, width, epsilon, rngs=rngs)
            self.after_feedforward = Norm(after, width, epsilon, rngs=rngs)
        scaled = residual == "scaled" and feedforward is not None
        self.skip, self.divisor = (nnx.Param(jnp.ones(())) if scaled else None for _ in range(2))

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        seen: dict = {}

        def normed(name: str, x: Array) -> Array:
            norm = getattr(self, name)
            seen[name] = norm.observed(x, flow.rng)
            return norm(x, flow.rng)

        y, after, record = self.mixer(normed("before_mixer", x), flow._replace(stream=x))
        after = after._replace(stream=None)
        x = normed("after_mixer", _whole_features(x + y, flow))
        if self.feedforward is None:
            # blocks with a second half and without report alike
            halves = {name.replace("mixer", "feedforward"): found for name, found in seen.items()}
            return x, after, _with_norms(record, seen | jax.tree.map(jnp.zeros_like, halves))
        y = self.feedforward(normed("before_feedforward", x), flow.rng)
        y = drop(y, self.dropout, flow.rng, "feedforward")
        if self.skip is not None:
            x, y = (self.skip[...] * x).astype(x.dtype), (y / self.divisor[...]).astype(y.dtype)
        x = normed("after_feedforward", _whole_features(x + y, flow))
        return x, after, _with_norms(record, seen)

    def state(self, batch: int, length: int, dtype: DTypeLike):
        """The mixer's empty decoding state."""
        return self.mixer.state(batch, length, dtype)

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the buffers of the mixer and of the norms."""
        for name, seen in observed.get(NORMS, {}).items():
            if hasattr(self, name):
                getattr(self, name).refresh(seen)
        self.mixer.refresh({name: seen for name, seen in observed.items() if name != NORMS}, rng, step)


def _with_norms(record: Record, seen: dict) -> Record:
    """The record, and in it what those norms observed that did."""
    seen = {name: found for name, found in seen.items() if found}
    if not seen:
        return record
    stats = Stats(None, None, None, None, {}) if record.stats is None else record.stats
    return record._replace(stats=stats._replace(observed=stats.observed | {NORMS: seen}))


def _whole_features(x: Float[Array, "*b t m"], flow: Flow) -> Float[Array, "*b t m"]:
    """The residual stream, which a mesh splits by examples and tokens."""
    return constrained(flow.axes, x, *("batch", "time")[3 - x.ndim :], None)
