"""Dropout of activations, entry by entry or a whole channel of an example at once.

Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4;
Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015, arXiv:1411.4280, section 3.3
(whole feature maps), as Mega's released code drops channels over time.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.part import Rng

Kind = Literal["entries", "channels"]


def check(rate: float, kind: Kind) -> None:
    """Refuses a rate that is no probability below 1, and another kind."""
    if not 0 <= rate < 1:
        raise ValueError(f"A dropout rate is a probability in [0, 1), got {rate}; 0 drops nothing.")
    if kind not in get_args(Kind):
        raise ValueError(f"Dropout is of {' or '.join(get_args(Kind))}, got {kind!r}; 'entries' is the usual one.")


def dropout(
    x: Float[Array, "*b t m"], rate: float, rng: Array | Rng | None, site: int, kind: Kind = "entries"
) -> Float[Array, "*b t m"]:
    """x with entries that are 0 with probability `rate`, the others larger to keep the mean; without `rng` as it is.

    `site` tells apart the places of a layer that drop. What is dropped depends on the key, the example and the token's
    slot alone; with "channels" not on the token either. There is one batch axis or none, and `Rng.example` has it too.
    """
    check(rate, kind)
    if rng is None or not rate:
        return x
    if isinstance(rng, Rng):
        keys = rng.example
    else:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(len(x))) if x.ndim == 3 else rng
    kept = _kept if x.ndim == 2 else jax.vmap(_kept, (0, None, None, None, None))
    return jnp.where(kept(keys, x.shape[-2:], rate, site, kind), x / (1 - rate), 0).astype(x.dtype)


def _kept(key: Array, shape: tuple[int, int], rate: float, site: int, kind: Kind) -> Array:
    """True for what stays of one example."""
    tokens, channels = shape
    key = jax.random.fold_in(key, site)

    def row(key: Array) -> Array:
        return jax.random.bernoulli(key, 1 - rate, (channels,))

    if kind == "channels":
        return jnp.broadcast_to(row(key), shape)
    return jax.vmap(lambda slot: row(jax.random.fold_in(key, slot)))(jnp.arange(tokens))
