"""What dropout keeps: a hash of two random words and the absolute head, query and key, the same in any tiling.

Of features the token and the feature take the place of the pair.

Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4;
the mixer is Wellons, "Prospecting for Hash Functions", 2018 (lowbias32).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from jattn.part import Rng, Tile


def words(rng: Rng) -> UInt32[Array, " 2"]:
    """Two words of the example's key."""
    return jax.random.bits(rng.example, (2,), jnp.uint32)


def drop(weights: Float[Array, "h t s"], rate: float, noise: UInt32[Array, " 2"] | None, tile: Tile):
    """The weights with some of them 0 and the others larger, so that their expectation stays; without noise as is."""
    return weights if noise is None else jnp.where(kept(noise, rate, tile), weights / (1 - rate), 0)


def kept(noise: UInt32[Array, " 2"], rate: float, tile: Tile) -> Bool[Array, "h t s"]:
    """True with probability 1 - rate, by head and by the slots that query and key have in the example."""
    head, query, key = (jnp.asarray(n).astype(jnp.uint32) for n in (tile.place.head, tile.query.index, tile.key.index))
    # a word a row and a word a key, so that a pair costs one mixer
    row = _mixed(_mixed(noise[0] + head)[:, None] ^ query[None])
    column = _mixed(noise[1] + key)
    return _mixed(row[:, :, None] ^ column[None, None]) >= _bar(rate)


def kept_features(noise: UInt32[Array, " 2"], rate: float, index: Int[Array, " t"], width: int) -> Bool[Array, "t m"]:
    """True with probability 1 - rate, by the slots of tokens and by the numbers of their features."""
    row = _mixed(noise[0] + index.astype(jnp.uint32))
    column = _mixed(noise[1] + jnp.arange(width, dtype=jnp.uint32))
    return _mixed(row[:, None] ^ column[None]) >= _bar(rate)


def _bar(rate: float) -> UInt32[Array, ""]:
    return jnp.uint32(min(rate * 2.0**32, 2.0**32 - 1))


def _mixed(word: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)
