"""Dropout of activations, entry by entry or a whole channel of an example at once, by key and absolute position.

Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4;
Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015, arXiv:1411.4280, section 3.3
(whole feature maps), as Mega's released code drops channels over time.
"""

import math
import zlib
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jattn.engines import dropout
from jattn.part import Rng

Kind = Literal["entries", "channels"]


def drop(
    x: Float[Array, "*b t m"],
    rate: float,
    rng: Array | Rng | None,
    name: str,
    first: Int[Array, "*b"] | int = 0,
    kind: Kind = "entries",
) -> Float[Array, "*b t m"]:
    """x with some entries 0 and the others larger, so that its mean stays; without a key, or at rate 0, as it is.

    `name` tells apart the places that drop by one key, and `first` is the number of the first token in its example;
    with "channels" all tokens of an example lose the same. What is dropped depends on no batch: of an `Rng` each
    example has a key of its own, else one is made by its number. Raises ValueError for another kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"Dropout is of {' or '.join(get_args(Kind))}, got {kind!r}; 'entries' is the usual one.")
    if rng is None or not rate:
        return x
    batch = x.shape[:-2]
    size = math.prod(batch)
    given = rng.example if isinstance(rng, Rng) else rng
    if not isinstance(rng, Rng):
        given = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(size))
    keys = given.reshape(size)
    starts = jnp.broadcast_to(jnp.asarray(first), batch).reshape(size)

    def kept(key, start):
        noise = jax.random.bits(jax.random.fold_in(key, zlib.crc32(name.encode())), (2,), jnp.uint32)
        index = start + jnp.arange(x.shape[-2]) if kind == "entries" else jnp.zeros(1, jnp.int32)
        stays = dropout.kept_features(noise, rate, index, x.shape[-1])
        return jnp.broadcast_to(stays, x.shape[-2:])

    stays = jax.vmap(kept)(keys, starts).reshape(x.shape)
    return jnp.where(stays, x / (1 - rate), 0).astype(x.dtype)


def check_rate(owner: str, name: str, rate: float) -> None:
    """Refuses what is no probability below 1."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"{owner}.{name} must be a probability in [0, 1), got {rate!r}; 0 drops nothing.")
