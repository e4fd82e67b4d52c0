"""A linear recurrent unit: complex factors that start evenly in a ring of the unit disk, and inputs scaled to match.

Source: Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023, arXiv:2303.06349,
section 3 and appendix A (lambda = exp(-exp(nu) + i exp(theta)), gamma = sqrt(1 - |lambda|^2)).
Departs: states are those of one channel, as in S4D, where the paper's hear and feed all channels; what mixes channels
is the layer's.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, part
from jattn.parts.transitions import Diagonal, Transition


@part
class LinearRecurrentUnit(Transition):
    """`states` complex numbers a channel, of sizes `least` to `most` and turns up to `turn` radians at the start.

    Thousands of tokens turn by thousands of radians, which float32 knows roughly: at 4,097 tokens the gradient of theta
    is 3e-4 to 4e-3 of the largest off, by the form.
    """

    states: int = 16
    least: float = 0.9
    most: float = 0.999
    turn: float = 6.283185307179586

    def __post_init__(self):
        if self.states < 1:
            raise ValueError(f"LinearRecurrentUnit.states must be at least 1, got {self.states}; 16 is a start.")
        if not 0 <= self.least < self.most < 1:
            raise ValueError(
                f"LinearRecurrentUnit draws sizes from least to most, 0 <= least < most < 1, got {self.least} and "
                f"{self.most}; the paper's for long sequences are 0.9 and 0.999."
            )
        if not self.turn > 0:
            raise ValueError(
                f"LinearRecurrentUnit.turn must be above 0 radians, got {self.turn}; the paper's is a whole turn."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        shape = dims.need("model_width", self), self.states
        size, turn, drive, read, skip = jax.random.split(rng, 5)
        # evenly in area, and never 0, whose log is none
        area = jax.random.uniform(size, shape, minval=max(self.least, 1e-3) ** 2, maxval=self.most**2)
        theta = jax.random.uniform(turn, shape, minval=1e-6 * self.turn, maxval=self.turn)
        return {
            "nu": jnp.log(-0.5 * jnp.log(area)),
            "theta": jnp.log(theta),
            "gamma": 0.5 * jnp.log1p(-area),
            "drive": jax.random.normal(drive, (2, *shape)) * 0.5**0.5,
            "read": jax.random.normal(read, (2, *shape)) * self.states**-0.5,
            "skip": jax.random.normal(skip, shape[:1]),
        }

    def diagonal(self, own: dict, x: Float[Array, "t c"]) -> Diagonal:
        held = {name: leaf.astype(wide(leaf.dtype)) for name, leaf in own.items()}
        gain = jnp.exp(held["gamma"])
        drive = lax.complex(gain * held["drive"][0], gain * held["drive"][1])
        read = lax.complex(held["read"][0], held["read"][1])
        made = -jnp.exp(held["nu"]), jnp.exp(held["theta"]), drive, read, held["skip"]
        return Diagonal(*(each[None] for each in made))
