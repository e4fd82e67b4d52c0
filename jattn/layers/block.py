"""A residual block: a mixer over tokens, then a layer for each token alone.

Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020, arXiv:2002.04745, figure 1
(after the sum in a, before each half in b); Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025,
arXiv:2501.03489, section 4 (learned scales of the second half, which train where norms are gone).
"""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import constrained
from jattn.layers.flow import Flow, Record
from jattn.layers.norms import Kind, Norm

Place = Literal["before", "after"]
Residual = Literal["plain", "scaled"]


class Block(nnx.Module):
    """`mixer(x, flow) -> y, flow, record` and `feedforward(x, rng) -> y`, each added to the stream.

    A norm stands before each half, or after each sum. With a scaled residual the second sum is skip * x + y / divisor,
    two learned numbers that start at 1. A block whose `feedforward` is None ends with its first half.
    """

    def __init__(
        self,
        mixer: nnx.Module,
        feedforward: nnx.Module | None,
        width: int,
        norm: Kind = "rms",
        place: Place = "before",
        residual: Residual = "plain",
        *,
        rngs: nnx.Rngs,
    ):
        if place not in get_args(Place):
            raise ValueError(f"A norm's place must be 'before' or 'after', got {place!r}; 'before' is the default.")
        if residual not in get_args(Residual):
            raise ValueError(f"A residual must be 'plain' or 'scaled', got {residual!r}; 'plain' is the default.")
        before, after = (norm, "none") if place == "before" else ("none", norm)
        self.mixer = mixer
        self.feedforward = feedforward
        self.before_mixer = Norm(before, width, rngs=rngs)
        self.after_mixer = Norm(after, width, rngs=rngs)
        if feedforward is not None:
            self.before_feedforward = Norm(before, width, rngs=rngs)
            self.after_feedforward = Norm(after, width, rngs=rngs)
        scaled = residual == "scaled" and feedforward is not None
        self.skip, self.divisor = (nnx.Param(jnp.ones(())) if scaled else None for _ in range(2))

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        y, flow, record = self.mixer(self.before_mixer(x), flow._replace(stream=x))
        flow = flow._replace(stream=None)
        x = self.after_mixer(_whole_features(x + y, flow))
        if self.feedforward is None:
            return x, flow, record
        y = self.feedforward(self.before_feedforward(x), flow.rng)
        if self.skip is not None:
            x, y = (self.skip[...] * x).astype(x.dtype), (y / self.divisor[...]).astype(y.dtype)
        return self.after_feedforward(_whole_features(x + y, flow)), flow, record

    def state(self, batch: int, length: int, dtype: DTypeLike):
        """The mixer's empty decoding state."""
        return self.mixer.state(batch, length, dtype)

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the mixer's buffers."""
        self.mixer.refresh(observed, rng, step)


def _whole_features(x: Float[Array, "*b t m"], flow: Flow) -> Float[Array, "*b t m"]:
    """The residual stream, which a mesh splits by examples and tokens."""
    return constrained(flow.axes, x, *("batch", "time")[3 - x.ndim :], None)
