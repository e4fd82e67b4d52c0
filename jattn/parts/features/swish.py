"""x sigmoid(x) of queries and keys: weights are products, of either sign, and rows are not divided by their sum.

Source: Qin et al., "Scaling TransNormer to 175 Billion Parameters", 2023, arXiv:2307.14995 (TransNormerLLM): its
gated linear attention.
"""

import jax

from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role


@part
class Swish(Feature):
    """As many features as the width; there is nothing to choose."""

    normalized = False

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        return jax.nn.silu(side.vector), None
