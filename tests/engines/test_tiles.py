"""How a call is cut into tiles, and that dead ones are skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import Rule, tiled, tiles
from jattn.mechanisms.attention import Attention
from jattn.part import Place, Side, part
from jattn.parts.masks import Full
from jattn.parts.scores import Score
from tests.support import attended, make, small_tiles


def test_dead_tiles_are_not_visited(monkeypatch):
    small_tiles(monkeypatch)

    class Liar(type(Full())):
        def reach(self, query, key, place):
            return (query.first >= 0) & (key.first < 12), True

    made, buffers = make(Attention())
    made = made._replace(key=made.key.at[12:].set(jnp.nan), value=made.value.at[12:].set(jnp.nan))
    assert np.isfinite(attended(tiled, Attention(mask=Liar()), made, buffers).out).all()
    assert not np.isfinite(attended(tiled, Attention(), made, buffers).out).all()


@pytest.mark.parametrize(("length", "keys"), [(1, 1), (128, 300), (1009, 64), (5000, 513), (1024, 2048)])
def test_tiles_fit_the_lengths(length, keys):
    rows, columns = tiles.tile_sizes(length, keys)
    for size, whole in ((rows, length), (columns, keys)):
        assert 1 <= size <= min(whole, 1024)
        # the clamped last tile computes hardly a row again
        assert -(-whole // size) * size - whole < -(-whole // size)


def test_tiles_suit_the_device_that_is_traced_for(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert tiles.sizes() == tiles.SIZES["tpu"]
    # a machine with an accelerator that is told to compute on its CPU
    with jax.default_device(jax.devices("cpu")[0]):
        assert tiles.sizes() == tiles.SIZES["cpu"]
    with jax.default_device("cpu"):
        assert tiles.sizes() == tiles.SIZES["cpu"]


def test_a_gpu_is_given_all_heads_of_large_tiles(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert tiles.tile_sizes(200, 16384) == (200, 2048)
    side = Side(jnp.zeros((4096, 8, 2)), np.arange(4096), np.arange(4096), None, None, 4096, {})
    plan = tiles.Plan.of(Rule(1.0), side, side, jnp.zeros((4096, 8, 2)), Place(np.arange(8), 8, 8))
    assert plan.group == plan.slim().group == 8


@pytest.mark.parametrize(("heads", "width"), [(1, 2), (1, 24), (8, 3), (2, 1000)])
def test_pairs_of_several_values_shrink_the_tile(heads, width):
    rows, columns = tiles.narrowed(512, 512, heads, width)
    room = max(tiles.sizes().pairs, heads * 512 * 512)
    # no more than halved too far, and as square as it goes
    assert room // 4 < heads * rows * columns * width <= room and rows in (columns, 2 * columns)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_pairs_of_one_value_leave_the_tile_as_it_is(heads):
    assert tiles.narrowed(512, 300, heads, 1) == (512, 300)


def test_a_tile_never_vanishes():
    assert tiles.narrowed(3, 5, 1, 10**9) == (1, 1)


@part
class Wide(Score):
    values: int

    def width(self, dims):
        return self.values * dims.key_width


def test_a_wide_score_makes_groups_of_fewer_heads():
    side = Side(jnp.zeros((64, 8, 2)), np.arange(64), np.arange(64), None, None, 64, {})
    place = Place(np.arange(8), 8, 8)
    plans = [
        tiles.Plan.of(Rule(1.0, score), side, side, jnp.zeros((64, 8, 2)), place)
        for score in ((), (Wide(192),), (Wide(1), Wide(192)))
    ]
    assert [(plan.rows, plan.columns, plan.group) for plan in plans] == [(64, 64, 8), (64, 32, 1), (64, 32, 1)]
