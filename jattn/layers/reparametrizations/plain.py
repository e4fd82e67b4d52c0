"""The kernel is what is learned.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.2.
"""

from jaxtyping import Array, Float

from jattn.layers.reparametrizations import Reparametrization
from jattn.part import Variables, part


@part
class Plain(Reparametrization):
    """Adds nothing."""

    def start(self, kernel: Float[Array, "n f"]) -> Variables:
        return Variables({}, {})

    def kernel(self, own: dict, kernel: Float[Array, "n f"]) -> Float[Array, "n f"]:
        return kernel
