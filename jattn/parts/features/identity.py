"""Queries and keys as they are: weights are products, of either sign, and rows are not divided by their sum.

Source: Sun et al., "Retentive Network", 2023, arXiv:2307.08621, equation 5; Yang et al., "Gated Linear Attention
Transformers with Hardware-Efficient Training", ICML 2024, arXiv:2312.06635, equation 2.
"""

from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role


@part
class Identity(Feature):
    """As many features as the width; queries are divided by its square root, as both papers' code has it."""

    normalized = False

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        return side.vector * side.vector.shape[-1] ** -0.5 if role == "query" else side.vector, None
