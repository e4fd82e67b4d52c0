"""Mega's rotary bias against its definition, and far beyond any length of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables, part
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.rotary_bias import RotaryBias
from tests.support import (
    assert_close,
    compiled_attend,
    float64,  # noqa: F401
    make,
    padded_layout,
    row_tile,
    run,
    small_tiles,
)

DRAWN = np.random.default_rng(0).normal(size=(2, 2, 6))
PARAMS = {"query": jnp.asarray(DRAWN[0], jnp.float32), "key": jnp.asarray(DRAWN[1], jnp.float32)}


def turned(vector, position):
    """Half-split, in float64: coordinate t with t + z/2, at the rate 10000^(-t / (z/2))."""
    half = len(vector) // 2
    angle = position * 10000.0 ** (-np.arange(half) / half)
    first, second = vector[:half], vector[half:]
    return np.r_[first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)]


def logits_of(content, mask=Full()):
    """The logits "h t s", as the log of the weight of each key, which queries and keys of `content` change."""
    tokens = len(content)
    each = jnp.broadcast_to(jnp.eye(tokens)[:, None], (tokens, 2, tokens))
    attention = Attention(score=RotaryBias(6), mask=mask)
    found = compiled_attend(content, content, each, attention, variables=Variables({"score": {"0": PARAMS}}, {}))
    return (jnp.log(found.out) + found.stats.log_normalizer[..., None]).swapaxes(0, 1)


def test_the_bias_is_the_definition_and_hears_distance_alone():
    found = np.asarray(logits_of(jnp.zeros((9, 2, 4))))
    want = [[[turned(DRAWN[0, h], i) @ turned(DRAWN[1, h], j) for j in range(9)] for i in range(9)] for h in range(2)]
    # a log of an exponential, of numbers up to 5
    np.testing.assert_allclose(found, want, atol=5e-6)


def bias_of(query, key):
    """`pairs` of logits of zeros at these positions, compiled."""
    tile = row_tile(2, len(query))
    tile = tile._replace(query=tile.query._replace(position=jnp.asarray(query)))
    tile = tile._replace(key=tile.query._replace(position=jnp.asarray(key)))
    return np.asarray(
        jax.jit(lambda zero: RotaryBias(6).pairs(PARAMS, zero, tile))(jnp.zeros((2, len(query), len(key))))
    )


@pytest.mark.parametrize("start", [0, 100_000])
def test_it_is_toeplitz_however_far_from_the_start(start):
    here, there = np.arange(40), np.arange(40) + start
    want = bias_of(here, here)
    found = bias_of(there, there)
    np.testing.assert_allclose(found, want, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:, 1:], found[:, :-1, :-1], atol=1e-6)


def test_positions_that_do_not_run_on_give_the_same():
    steps = np.r_[0:20, 3:23] + 5000
    found = bias_of(steps, steps)
    # the sines of angles up to 20, rounded to a unit of their last place, and sums of 6 products of size 4
    np.testing.assert_allclose(
        found, bias_of(np.arange(30), np.arange(30))[:, (steps - 5000)[:, None], steps - 5000], atol=2e-5
    )


def test_content_changes_logits_by_its_own_products_alone():
    content = jnp.asarray(np.random.default_rng(1).normal(size=(9, 2, 4)), jnp.float32)
    products = np.einsum("thd,shd->hts", content, content) / 2
    np.testing.assert_allclose(logits_of(content) - products, logits_of(jnp.zeros((9, 2, 4))), atol=1e-5)


def test_a_longer_input_keeps_the_bias_of_the_distances_it_had():
    short, long = (logits_of(jnp.zeros((n, 2, 4)), mask=Causal()) for n in (7, 19))
    np.testing.assert_allclose(long[:, 12:, 12:], short, atol=1e-5)
    assert np.isfinite(np.asarray(long)[:, 18]).all()


@part
class ByPair(RotaryBias):
    """The bias as it is defined, an angle for each pair."""

    def pairs(self, own, logits, tile):
        a, b = own["query"][tile.place.head], own["key"][tile.place.head]
        half = a.shape[-1] // 2
        offset = tile.query.position[:, None] - tile.key.position[None, :]
        angle = offset[None, ..., None] * 10000.0 ** (-jnp.arange(half) / half)[None, None, None]
        (a1, a2), (b1, b2) = (jnp.split(x[:, None, None], 2, -1) for x in (a, b))
        return logits + ((a1 * b1 + a2 * b2) * jnp.cos(angle) + (a1 * b2 - a2 * b1) * jnp.sin(angle)).sum(-1)


@pytest.mark.parametrize("positions", [np.arange(53) + 70, np.r_[0:20, 0:33]], ids=["running", "restarting"])
def test_values_and_gradients_are_those_of_an_angle_a_pair(positions, float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    layout = padded_layout()._replace(positions=jnp.asarray(positions))
    made, buffers = make(Attention(score=RotaryBias()))
    want = run(tiled, Attention(score=ByPair()), made, buffers, layout)
    got = run(tiled, Attention(score=RotaryBias()), made, buffers, layout)
    assert_close(want, got, 1e-12)


def test_another_size_than_the_keys_and_fresh_vectors_of_small_noise():
    dims = Dims(4, 2, 2, 8, 5)
    assert RotaryBias().init(jax.random.key(0), dims).params["query"].shape == (4, 8)
    made = RotaryBias(3000).init(jax.random.key(0), dims).params
    for name in ("query", "key"):
        assert made[name].shape == (4, 3000)
        # 12e3 draws: three standard errors of a deviation are 2 %
        np.testing.assert_allclose(np.std(made[name]), 0.02, rtol=0.02)
    assert not np.allclose(made["query"], made["key"])


def test_options_and_widths_that_are_no_pairs_are_refused():
    for size in (0, 7):
        with pytest.raises(ValueError, match="RotaryBias.size must be even"):
            RotaryBias(size)
    with pytest.raises(ValueError, match="RotaryBias.base must be above 0"):
        RotaryBias(base=0)
    with pytest.raises(ValueError, match="RotaryBias turns pairs, and keys have 5 numbers"):
        RotaryBias().init(jax.random.key(0), Dims(1, 1, 1, 5, 5))
