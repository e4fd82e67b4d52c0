"""Dropout of features: in training some of a token's numbers are 0 and the others larger, so that their mean stays.

Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Rng

# where in a layer features are dropped, each place with a noise of its own
HIDDEN, FEEDFORWARD = 1, 2
# outside of layers: the model's key is folded with the numbers of layers too, and these are none
EMBEDDED, CLASSIFIER = 2**31 - 1, 2**31 - 2


def dropped(x: Float[Array, "*b t m"], rate: float, rng: Array | Rng | None, place: int) -> Float[Array, "*b t m"]:
    """x with a share `rate` of its numbers 0, by the key of each example and the slot of each token; all without a key.

    A key that is not an `Rng` is split over the batch.
    """
    if not rate or rng is None:
        return x
    lead = x.shape[:-2]
    if isinstance(rng, Rng):
        keys = rng.example
    else:
        keys = jax.vmap(functools.partial(jax.random.fold_in, rng))(jnp.arange(math.prod(lead))).reshape(lead)

    def one(x: Float[Array, "t m"], key: Array) -> Float[Array, "t m"]:
        kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x.shape)
        return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)

    for _ in lead:
        one = jax.vmap(one)
    return one(x, keys)


def check_rate(owner: str, name: str, rate: float) -> None:
    """Refuses what is no probability below 1."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"{owner}.{name} must be a probability in [0, 1), got {rate!r}; 0 drops nothing.")
