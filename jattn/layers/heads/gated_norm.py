"""Heads whose outputs are normed all together and gated by the layer's input, where no softmax keeps them in size.

Source: Qin et al., "Scaling TransNormer to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its gated
linear attention with SRMSNorm, y = (norm(o) u) W.
Departs: the output projection starts at 0, so that a fresh block is the identity.
"""

import jax
from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.layers.heads import Heads
from jattn.layers.heads.grouped import FRESH, Grouped, project
from jattn.layers.norms import simple_rms
from jattn.mechanisms import Split
from jattn.part import Dims, part


@part
class GatedNorm(Heads):
    """Beside queries, keys and values a gate of each head's output, one product with the input; `Grouped` otherwise."""

    key_heads: int | None = None

    AXES = Grouped.AXES | {"gate": ("width", "heads")}

    def __post_init__(self):
        # refuses a number that none can be
        self._grouped()

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        return self._grouped().dims(width, heads, depth)

    def params(self, rng: Array, dims: Dims) -> dict:
        gate, others = jax.random.split(rng)
        shape = dims.need("model_width", self), dims.heads * dims.value_width
        return self._grouped().params(others, dims) | {"gate": FRESH(gate, shape)}

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        # under a path of its own, where no part of the attention looks
        gate = {"heads": {"gate": project(x, own["gate"], flow.layout.head[1])}}
        other = {} if flow.memory is not None else gate
        return self._grouped().split(own, x, flow)._replace(extra=(gate, other))

    def merge(
        self, own: dict, out: Float[Array, "*b t h e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        normed = simple_rms(out.reshape(*out.shape[:-2], out.shape[-2] * out.shape[-1])).reshape(out.shape)
        return self._grouped().merge(own, normed * split.extra[0]["heads"]["gate"], split, flow)

    def _grouped(self) -> Grouped:
        return Grouped(self.key_heads)
