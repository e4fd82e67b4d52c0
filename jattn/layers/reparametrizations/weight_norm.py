"""A kernel whose columns, one an output, have learned lengths.

Source: Salimans, Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural
Networks", NeurIPS 2016, arXiv:1602.07868, equation 2.
Departs: a length starts at that of the fresh column, which changes nothing at first; the paper sets it from data.
"""

from typing import Literal

from jaxtyping import Array, Float

from jattn.layers.reparametrizations import Reparametrization
from jattn.numerics import divide
from jattn.numerics import length as length_of
from jattn.part import Variables, part


def weight_norm(kernel: Float[Array, "n f"], length: Float[Array, " f"]) -> Float[Array, "n f"]:
    """Every column at the length that is asked for."""
    return divide(length, length_of(kernel))[None, :] * kernel


@part
class WeightNorm(Reparametrization):
    """Of every kernel, or of those in feed-forward layers alone."""

    where: Literal["all", "feedforward"] = "all"

    def start(self, kernel: Float[Array, "n f"]) -> Variables:
        return Variables({"length": length_of(kernel)}, {})

    def kernel(self, own: dict, kernel: Float[Array, "n f"]) -> Float[Array, "n f"]:
        return weight_norm(kernel, own["length"])
