"""A diagonal state space model: waves of whole numbers of half turns a step of a channel's own time, which fade.

Source: Gu, Gupta, Goel, Re, "On the Parameterization and Initialization of Diagonal State Space Models", NeurIPS 2022,
arXiv:2206.11893, sections 3 and 4.2: S4D-Lin (A_n = -1/2 + i pi n), discretized by zero-order hold, B = 1.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, part
from jattn.parts.transitions import Diagonal, Transition


@part
class S4D(Transition):
    """`states` complex numbers a channel, of which each stands for itself and its conjugate: the paper's N = 64.

    Steps start between `shortest` and `longest`, in units of a channel's own time, evenly in their logs.
    """

    states: int = 32
    shortest: float = 1e-3
    longest: float = 1e-1

    def __post_init__(self):
        if self.states < 1:
            raise ValueError(f"S4D.states must be at least 1, got {self.states}; the paper's N = 64 are 32 pairs.")
        if not 0 < self.shortest <= self.longest:
            raise ValueError(
                f"S4D draws steps from shortest to longest, both above 0, got {self.shortest} and {self.longest}; the "
                f"paper's are 1e-3 and 1e-1."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        channels = dims.need("model_width", self)
        step, read, skip = jax.random.split(rng, 3)
        low, high = jnp.log(self.shortest), jnp.log(self.longest)
        zeros = jnp.zeros((channels, self.states))
        return {
            "log_step": jax.random.uniform(step, (channels,), minval=low, maxval=high),
            "log_fade": zeros + jnp.log(0.5),
            "turn": zeros + (jnp.pi * jnp.arange(self.states))[None],
            # a complex normal, of variance 1
            "read": jax.random.normal(read, (2, channels, self.states)) * 0.5**0.5,
            "skip": jax.random.normal(skip, (channels,)),
        }

    def diagonal(self, own: dict, x: Float[Array, "t c"]) -> Diagonal:
        held = {name: leaf.astype(wide(leaf.dtype)) for name, leaf in own.items()}
        step = jnp.exp(held["log_step"])[:, None]
        fade = jnp.exp(held["log_fade"])
        log_decay, phase = -fade * step, held["turn"] * step
        # (exp(A step) - 1) / A, whose real part would cancel where a step is short
        grown = jnp.expm1(log_decay)
        half = jnp.sin(phase / 2)
        above = lax.complex(grown * jnp.cos(phase) - 2 * half**2, (1 + grown) * jnp.sin(phase))
        drive = above / lax.complex(-fade, held["turn"])
        read = 2 * lax.complex(held["read"][0], held["read"][1])
        return Diagonal(log_decay[None], phase[None], drive[None], read[None], held["skip"][None])
