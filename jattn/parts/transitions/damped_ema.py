"""Several exponential moving averages of each channel, damped, each begun with a weight and read with another.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 3.1, equations
3 to 5; the released code (`exponential_moving_average.py`), whose names these are.
Departs: as the code does, what is read is divided by the root of the number of averages, where the paper is silent.
The code's `delta` gives the paper's alpha, and its `alpha` the paper's delta.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import wide
from jattn.part import Dims, part
from jattn.parts.transitions import Diagonal, Transition


def log_decay(delta: Float[Array, "c n"], alpha: Float[Array, "c n"]) -> Float[Array, "c n"]:
    """log(1 - sigmoid(delta) sigmoid(alpha)) in nats: finite, and below 0 where a float can tell."""
    weight = jax.nn.log_sigmoid(delta) + jax.nn.log_sigmoid(alpha)
    # a product that rounds to 1 would leave nothing, at a log of -inf
    weight = jnp.minimum(weight, -jnp.finfo(weight.dtype).tiny)
    half = -jnp.log(jnp.asarray(2, weight.dtype))
    # each side where it is accurate, and kept finite where it is not taken
    near = jnp.log(-jnp.expm1(jnp.maximum(weight, half)))
    return jnp.where(weight > half, near, jnp.log1p(-jnp.exp(jnp.minimum(weight, half))))


@part
class DampedEma(Transition):
    """`expansion` averages a channel, as at the start about half of what comes and three quarters of what was."""

    expansion: int = 16

    def __post_init__(self):
        if self.expansion < 1:
            raise ValueError(
                f"DampedEma.expansion must be at least 1, got {self.expansion}; a layer that wants no average has none."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        shape = dims.need("model_width", self), self.expansion
        delta, alpha, beta, gamma = (jax.random.normal(key, shape) for key in jax.random.split(rng, 4))
        signs = 1 - 2 * (jnp.arange(self.expansion) % 2)
        return {"delta": 0.2 * delta, "alpha": 0.2 * alpha, "beta": 0.02 * beta + signs[None], "gamma": gamma}

    def diagonal(self, own: dict, x: Float[Array, "t c"]) -> Diagonal:
        delta, alpha, beta, gamma = (
            own[name].astype(wide(own[name].dtype)) for name in ("delta", "alpha", "beta", "gamma")
        )
        drive, read = jax.nn.sigmoid(delta) * beta, gamma * self.expansion**-0.5
        return Diagonal(log_decay(delta, alpha)[None], None, drive[None], read[None])
