"""A pre-norm residual block: a mixer over tokens, then a layer for each token alone.

Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020, arXiv:2002.04745, figure 1b.
"""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import constrained
from jattn.layers.flow import Flow, Record
from jattn.layers.norms import Kind, Norm


class Block(nnx.Module):
    """`mixer(x, flow) -> y, flow, record` and `feedforward(x) -> y`, each on the normalized stream and added to it."""

    def __init__(
        self, mixer: nnx.Module, feedforward: nnx.Module, width: int, norm: Kind = "rms", *, rngs: nnx.Rngs
    ):
        self.mixer = mixer
        self.feedforward = feedforward
        self.before_mixer = Norm(norm, width, rngs=rngs)
        self.before_feedforward = Norm(norm, width, rngs=rngs)

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Record]:
        y, flow, record = self.mixer(self.before_mixer(x), flow)
        x = _whole_features(x + y, flow)
        return _whole_features(x + self.feedforward(self.before_feedforward(x)), flow), flow, record

    def state(self, batch: int, length: int, dtype: DTypeLike):
        """The mixer's empty decoding state."""
        return self.mixer.state(batch, length, dtype)

    def refresh(self, observed: dict, rng: Array, step: Int[Array, ""]) -> None:
        """Renews the mixer's buffers."""
        self.mixer.refresh(observed, rng, step)


def _whole_features(x: Float[Array, "*b t m"], flow: Flow) -> Float[Array, "*b t m"]:
    """The residual stream, which a mesh splits by examples and tokens."""
    return constrained(flow.axes, x, *("batch", "time")[3 - x.ndim :], None)
