"""Forgets at a fixed rate for each head, by ALiBi's slopes, and the less the deeper the layer.

Source: Qin et al., "Scaling TransNormer to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its
exponential decay, and the released code, which adds 1e-5 so that the last layer forgets a little too.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jattn.part import Place, Side, by_head, part
from jattn.parts.decays import Decay
from jattn.parts.scores.alibi import slopes


def rates(heads: int, layer: int | Float[Array, ""], depth: int) -> Float[Array, " h"]:
    """What each head forgets a token, in nats: its slope times 1 - layer / (depth - 1) + 1e-5."""
    return slopes(heads) * (1 - layer / max(1, depth - 1) + 1e-5)


@part
class Lightning(Decay):
    """The paper's rates in a stack of `depth` layers; of a single layer they are ALiBi's slopes."""

    depth: int = 1

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"Lightning.depth must be at least 1, got {self.depth}; it is that of the model.")

    def log(self, own: dict, key: Side, place: Place) -> Float[Array, " h"]:
        made = rates(place.heads, place.layer, self.depth)
        return -(by_head(made, place.head) if isinstance(made, np.ndarray) else made[jnp.asarray(place.head)])
