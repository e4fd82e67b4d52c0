"""A kernel whose spectral norm is one learned number, so that attention entropy cannot collapse by its growth.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, section 3.2 and appendix (power iteration).
Departs: the iteration runs in training steps alone, so that evaluation is pure; norms are taken in float32 always.
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.layers.reparametrizations import Reparametrization
from jattn.numerics import divide, known, length
from jattn.part import Variables, part

# from a random start the norm is found to 1 in 4000 after 10 steps
WARM_UP = 15
# the iteration is to give norms of float32 where a TPU would multiply in bfloat16
EXACT = lax.Precision.HIGHEST


def power_iteration(kernel: Float[Array, "n f"], vector: Float[Array, " f"], steps: int = 1) -> Float[Array, " f"]:
    """The unit vector of outputs after so many steps towards the leading right singular vector."""
    for _ in range(steps):
        ahead = jnp.matmul(kernel, vector, precision=EXACT)
        back = jnp.matmul(ahead, kernel, precision=EXACT)
        vector = divide(back, length(back))
    return vector


def leading(kernel: Float[Array, "n f"]) -> Float[Array, " f"]:
    """The leading right singular vector."""
    return jnp.linalg.svd(kernel, full_matrices=False)[2][0]


def spectral_norm(kernel: Float[Array, "n f"], vector: Float[Array, " f"]) -> Float[Array, ""]:
    """The norm of the kernel as its leading right singular vector shows it, never above the true one.

    Its gradient is the left singular vector times the right one, as that of the true norm is.
    """
    return length(jnp.matmul(kernel, lax.stop_gradient(vector), precision=EXACT))


def sigma_reparam(
    kernel: Float[Array, "n f"], gain: Float[Array, ""], vector: Float[Array, " f"]
) -> Float[Array, "n f"]:
    """gain / spectral norm times the kernel, in float32; `vector` is what `power_iteration` has found so far.

    Raises ValueError for shapes that do not fit, and for a kernel of zeros, which has no direction to scale, where that
    is known.
    """
    if kernel.ndim != 2 or jnp.shape(vector) != kernel.shape[1:] or jnp.shape(gain):
        raise ValueError(
            f"A kernel (inputs, outputs) goes with one gain and a vector of its outputs, got shapes {kernel.shape}, "
            f"{jnp.shape(gain)} and {jnp.shape(vector)}; make both by SigmaReparam().start(kernel)."
        )
    kernel = jnp.asarray(kernel, jnp.promote_types(kernel.dtype, jnp.float32))
    if (held := known(kernel)) is not None and not held.any():
        raise ValueError(
            f"A kernel must have a direction to be scaled, got zeros of shape {kernel.shape}; draw it anew, as "
            f"jattn.nn.Reparametrized does."
        )
    return divide(gain, spectral_norm(kernel, vector)) * kernel


@part
class SigmaReparam(Reparametrization):
    """`gain` starts at 1, or at the kernel's own norm, which changes nothing at first; `begin` finds that norm.

    "svd" is exact; "iterated" takes 15 steps of the iteration, for kernels so large that the first takes too long.
    `steps` of the iteration are taken in each training step.
    """

    gain: Literal["one", "norm"] = "one"
    joint: Literal["none", "qk", "qkv"] = "none"
    begin: Literal["svd", "iterated"] = "svd"
    steps: int = 1

    def __post_init__(self):
        for name, allowed in (
            ("gain", ("one", "norm")),
            ("joint", ("none", "qk", "qkv")),
            ("begin", ("svd", "iterated")),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(
                    f"SigmaReparam.{name} must be one of {', '.join(allowed)}, got {value!r}; the default is "
                    f"{allowed[0]}."
                )
        if self.steps < 1:
            raise ValueError(f"SigmaReparam.steps must be at least 1, got {self.steps}; the paper takes 1.")

    def start(self, kernel: Float[Array, "n f"]) -> Variables:
        if self.begin == "svd":
            vector = leading(kernel)
        else:
            vector = power_iteration(kernel, jnp.full(kernel.shape[1], kernel.shape[1] ** -0.5), WARM_UP)
        gain = spectral_norm(kernel, vector) if self.gain == "norm" else jnp.ones(())
        return Variables({"gain": gain}, {"vector": vector})

    def kernel(self, own: dict, kernel: Float[Array, "n f"]) -> Float[Array, "n f"]:
        return sigma_reparam(kernel, own["gain"], own["vector"])

    def renewed(self, own: dict, kernel: Float[Array, "n f"]) -> dict:
        return {"vector": power_iteration(kernel, own["vector"], self.steps)}
