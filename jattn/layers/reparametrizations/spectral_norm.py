"""A kernel divided by its spectral norm, which then is 1.

Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, arXiv:1802.05957,
section 2.1 and appendix A; of feed-forward layers in place of layer norms: Jha, Reagen, "Entropy-Guided Attention for
Private LLMs", 2025, arXiv:2501.03489, section 4.
Departs: the iteration starts at the exact singular vector, and runs in training steps alone.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.layers.reparametrizations import Reparametrization
from jattn.layers.reparametrizations.sigma_reparam import leading, power_iteration, sigma_reparam
from jattn.part import Variables, part


@part
class SpectralNorm(Reparametrization):
    """Of every kernel, or of those in feed-forward layers alone."""

    where: Literal["all", "feedforward"] = "all"

    def start(self, kernel: Float[Array, "n f"]) -> Variables:
        return Variables({}, {"vector": leading(kernel)})

    def kernel(self, own: dict, kernel: Float[Array, "n f"]) -> Float[Array, "n f"]:
        return sigma_reparam(kernel, jnp.ones(()), own["vector"])

    def renewed(self, own: dict, kernel: Float[Array, "n f"]) -> dict:
        return {"vector": power_iteration(kernel, own["vector"])}
