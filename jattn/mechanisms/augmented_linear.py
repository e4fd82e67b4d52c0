"""Linear attention beside a short causal convolution of the values, which sees the order of the nearest tokens.

Source: You et al., "When Linear Attention Meets Autoregressive Decoding: Towards More Effective and Efficient
Linearized Large Language Models", ICML 2024, arXiv:2406.07368; the released code for a kernel a head, and for the 32 of
its 63 taps that see no later token.
Departs: later taps are not there, where the released code sets them to 0 in each call; the kernel starts at 0, an
option of that code, so that a fresh layer is its linear attention.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.mechanisms import Layout, Mechanism, Split, sides
from jattn.mechanisms.linear import Held, LinearAttention
from jattn.numerics import wide
from jattn.part import Attended, Dims, Place, Rng, of_heads, part
from jattn.parts.features import Feature
from jattn.parts.features.mixed_chunk import MixedChunk
from jattn.parts.positions import Position, Unturned


class Decoding(NamedTuple):
    """What decoding carries, of one size for any length: the state of linear attention, and the last values."""

    linear: Held
    value: Float[Array, "n j e"]


def convolved(
    value: Float[Array, "n j e"], past: Float[Array, "p j e"], kernel: Float[Array, "h r"]
) -> Float[Array, "n h e"]:
    """Each head's sum of kernel[r] times the value r tokens before, behind `past`, of which there are r - 1."""
    heads, taps = kernel.shape
    line = jnp.concatenate([past, value]).astype(kernel.dtype)
    line = jnp.pad(line, ((1, -len(value) % taps), (0, 0), (0, 0)))
    blocks = jnp.repeat(line, heads // line.shape[1], axis=1).reshape(-1, taps, heads, line.shape[2])
    # products of a matrix with pairs of blocks: on CPU several times as quick as a convolution by head
    back = taps + np.arange(taps)[:, None] - np.arange(2 * taps)[None]
    matrix = jnp.where((back >= 0) & (back < taps), kernel[:, np.clip(back, 0, taps - 1)], 0)
    found = jnp.einsum("hij,bjhe->bihe", matrix, jnp.concatenate([blocks[:-1], blocks[1:]], 1))
    return found.reshape(-1, heads, line.shape[2])[: len(value)]


@part
class AugmentedLinear(Mechanism):
    """Any linear attention, the paper's by default, and a kernel of `taps` tokens a head, the row's own among them.

    `context_axis` is as in `LinearAttention`. Segments are refused: a kernel reads across them.
    """

    feature: Feature = MixedChunk()
    taps: int = 32
    position: Position = Unturned()
    context_axis: str | None = None

    def __post_init__(self):
        if self.taps < 1:
            raise ValueError(f"AugmentedLinear.taps must be at least 1 token, got {self.taps}; the paper's are 32.")

    def params(self, rng: Array, dims: Dims) -> dict:
        return {"kernel": jnp.zeros((dims.heads, self.taps))}

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Decoding:
        past = jnp.zeros((self.taps - 1, dims.value_heads, dims.value_width), dtype)
        return Decoding(self._linear().state(dims, dtype, self._own(own), extra), past)

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Decoding | None) -> Attended:
        if len(split.query) != len(split.key):
            raise ValueError(
                f"A convolution of values has a row for each of them, got {len(split.query)} queries and "
                f"{len(split.key)} keys; use LinearAttention for other keys."
            )
        if layout.segments is not None:
            raise ValueError(
                "A convolution of values reads across segments, got some; give each segment a call of its own."
            )
        held = None if state is None else state.linear
        query, key, _ = sides.both(Unturned(), {}, split, layout, 0, self.context_axis)
        value = split.value if key.valid is None else jnp.where(key.valid[:, None, None], split.value, 0)
        found = self._linear().apply(self._own(own), split, layout, None, held)
        kept = self.taps - 1
        past = self._past(value) if state is None else state.value
        if state is not None:
            both = jnp.concatenate([past, value.astype(past.dtype)])
            found = found._replace(state=Decoding(found.state, both[len(both) - kept :]))
        heads = split.query.shape[1]
        place = Place(*(layout.head or (np.arange(heads), heads, split.key.shape[1])))
        kernel = of_heads(own, "kernel", place).astype(wide(value.dtype))
        near = convolved(value, past, kernel)
        if query.valid is not None:
            near = jnp.where(query.valid[:, None, None], near, 0)
        return found._replace(out=(found.out + near).astype(found.out.dtype))

    def weights(
        self, own: dict, split: Split, layout: Layout, rng: Rng | None, rows: Int[np.ndarray, " r"]
    ) -> Float[Array, "h r s"]:
        found = self._linear().weights(self._own(own), split, layout, None, rows)
        query, key, place = sides.both(Unturned(), {}, split, layout, 0, self.context_axis)
        distance = rows[:, None] - jnp.arange(len(split.key))[None]
        reached = (distance >= 0) & (distance < self.taps)
        for side, at in ((query, (rows, None)), (key, (None, slice(None)))):
            reached = reached if side.valid is None else reached & side.valid[at]
        taps = jnp.asarray(of_heads(own, "kernel", place))[:, jnp.clip(distance, 0, self.taps - 1)]
        return found + jnp.where(reached[None], taps, 0).astype(found.dtype)

    def _past(self, value: Float[Array, "n j e"]) -> Float[Array, "p j e"]:
        """The values before the first of these: none, or the last ones of the device before this one."""
        kept = self.taps - 1
        if self.context_axis is None:
            return jnp.zeros((kept, *value.shape[1:]), value.dtype)
        if len(value) < kept:
            raise ValueError(
                f"A kernel of {self.taps} taps reads the values of one device beside its own, got {len(value)} tokens "
                f"on each; use fewer devices on the axis {self.context_axis!r}."
            )
        devices = lax.axis_size(self.context_axis)
        # the first device has none before it, and is sent zeros
        return lax.ppermute(value[len(value) - kept :], self.context_axis, [(n, n + 1) for n in range(devices - 1)])

    def _linear(self) -> LinearAttention:
        return LinearAttention(self.feature, position=self.position, context_axis=self.context_axis)

    def _own(self, own: dict) -> dict:
        """The arrays of the parts that linear attention shares with this one."""
        made = self._linear().own(None)
        return type(made)({name: own.get(name, entry) for name, entry in made.items()})
