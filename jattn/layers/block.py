"""A residual block: a mixer over tokens, then a layer for each token alone.

Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020, arXiv:2002.04745, figure 1
(after the sum in a, before each half in b).
"""

from typing import Literal, get_args

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import constrained
from jattn.layers.flow import Flow, Record
from jattn.layers.norms import Kind, Norm

Place = Literal["before", "after"]


class Block(nnx.Module):
    """`mixer(x, flow) -> y, flow, record` and `feedforward(x) -> y`, each added to the stream.

    A norm stands before each half, or after each sum.
    """

    def __init__(
        self,
        mixer: nnx.Module,
        feedforward: nnx.Module,
        width: int,
        norm: Kind = "rms",
        place: Place = "before",
        *,
        rngs: nnx.Rngs,
    ):
        if place not in get_args(Place):
            raise ValueError(f"A norm's place must be 'before' or 'after', got {place!r}; 'before' is the default.")
        before, after = (norm, "none") if place == "before" else ("none", norm)
        self.mixer = mixer
        self.feedforward = feedforward
        self.before_mixer = Norm(before, width, rngs=rngs)
        self.before_feedforward = Norm(before, width, rngs=rngs)
        self.after_mixer = Norm(after, width, rngs=rngs)
        self.after_feedforward = Norm(after, width, rngs=rngs)

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        y, flow, record = self.mixer(self.before_mixer(x), flow)
        x = self.after_mixer(_whole_features(x + y, flow))
        y = self.feedforward(self.before_feedforward(x))
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
