"""Forgets at a fixed rate for each head, by ALiBi's slopes, and the less the deeper the layer.

Source: Qin et al., "Scaling TransNormer to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its
exponential decay, and the released code, which adds 1e-5 so that the last layer forgets a little too.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.part import Dims, Place, Side, by_head, part
from jattn.parts.decays import Decay
from jattn.parts.scores.alibi import slopes


def rates(heads: int, layer: int | Int[Array, ""], depth: int | Int[Array, ""]) -> Float[Array, " h"]:
    """What each head forgets a token, in nats: its slope times 1 - layer / (depth - 1) + 1e-5; one layer has a whole.

    Raises ValueError for a layer that a stack of that depth does not have, where both are known when traced.
    """
    known = all(isinstance(each, int | np.integer) for each in (layer, depth))
    if known and layer >= depth:
        raise ValueError(
            f"Lightning.depth counts the layers of the model, got {depth} in layer {layer}, which are counted from 0; "
            f"leave it out for the model's."
        )
    left = 1 - layer / (depth - 1 + (depth == 1))
    # nothing ever grows, in a layer that is traced either
    return slopes(heads) * (left * (left > 0) + 1e-5)


@part
class Lightning(Decay):
    """The paper's rates in a stack of `depth` layers, those of the model where it is None; alone, ALiBi's slopes."""

    depth: int | None = None

    def __post_init__(self):
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"Lightning.depth must be at least 1, got {self.depth}; leave it out for the model's.")

    def buffers(self, rng: Array, dims: Dims) -> dict:
        return {} if self.depth else {"depth": jnp.int32(dims.need("depth", self))}

    def log(self, own: dict, key: Side, place: Place) -> Float[Array, " h"]:
        made = rates(place.heads, place.layer, self.depth or own.get("depth", 1))
        return -(by_head(made, place.head) if isinstance(made, np.ndarray) else made[jnp.asarray(place.head)])
