"""The mean of the tokens.

Source: Lin, Chen, Yan, "Network In Network", ICLR 2014, arXiv:1312.4400, section 3.2.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Rng, Side, part
from jattn.parts.pools import Pool, Pooled, pooled


@part
class Mean(Pool):
    """One row; a bias weighs the tokens by its exponentials."""

    def apply(
        self, own: dict, x: Float[Array, "n m"], side: Side, bias: Float[Array, " n"] | None, rng: Rng | None
    ) -> Pooled:
        return pooled(x, jnp.zeros((1, x.shape[0])), side, bias)
