"""Which tiles are alive, and that skipping them is what happens."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import Rule, tiled, tiles
from jattn.mechanisms.attention import Attention
from jattn.part import Place, Side, part
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.scores import Score
from tests.support import attended, make, small_tiles


def live(mask, tokens=53, heads=4):
    here = np.arange(tokens)
    side = Side(jnp.zeros((tokens, heads, 2)), here, here, None, None, tokens, {})
    place = Place(np.arange(heads), heads, heads)
    plan = tiles.Plan.of(Rule(1.0, mask=mask), side, side, jnp.zeros((tokens, heads, 2)), place)
    return plan, tiles.live_tiles(plan, side, side, place)


def test_one_tile_needs_no_list():
    assert live(Causal())[1] is None


def test_causal_lists_the_lower_triangle_both_ways(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=4 * 16 * 16)
    plan, ((order, count), (back, back_count)) = live(Causal(), tokens=64)
    assert plan.counts() == (4, 4, 1)
    assert count.tolist() == [[1, 2, 3, 4]] and back_count.tolist() == 4 * [[4, 3, 2, 1]]
    assert order[0, 2, :3].tolist() == [0, 1, 2] and back[0, 2, :2].tolist() == [2, 3]


def test_windows_by_head_make_lists_by_group_of_heads(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=16 * 16)
    plan, ((_, count), _) = live(Window(left=(0, 0, 63, 16)), tokens=64)
    assert plan.group == 1
    assert count.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 2, 2]]


def test_a_gap_between_sinks_and_window_is_skipped(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=4 * 16 * 16)
    # keys further back than 48 and keys within 8: the middle is dead
    _, ((order, count), _) = live((Causal() & ~Window(left=47)) | Window(left=8), tokens=80)
    assert count[0, 4] == 4 and order[0, 4, :4].tolist() == [0, 1, 3, 4]


def test_the_clamped_last_tile_asks_for_the_rows_it_holds(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=4 * 16 * 16)
    # 53 tokens: the last tile starts at 37, whose window of 4 reaches back into tile 2
    _, ((order, count), _) = live(Window(left=4))
    assert order[0, 3, : count[0, 3]].tolist() == [2, 3]


def test_dead_tiles_are_not_visited(monkeypatch):
    small_tiles(monkeypatch)

    class Liar(type(Full())):
        def reach(self, query, key, place):
            return (query.first >= 0) & (key.first < 12), True

    made, buffers = make(Attention())
    made = made._replace(key=made.key.at[12:].set(jnp.nan), value=made.value.at[12:].set(jnp.nan))
    assert np.isfinite(attended(tiled, Attention(mask=Liar()), made, buffers).out).all()
    assert not np.isfinite(attended(tiled, Attention(), made, buffers).out).all()


@pytest.mark.parametrize(("length", "keys"), [(1, 1), (128, 300), (1009, 64), (5000, 5000)])
def test_tiles_fit_the_lengths(length, keys):
    rows, columns = tiles.tile_sizes(length, keys)
    assert 1 <= rows <= min(length, 512) and 1 <= columns <= min(keys, 512)


@pytest.mark.parametrize(("heads", "width"), [(1, 2), (1, 24), (8, 3), (2, 1000)])
def test_pairs_of_several_values_shrink_the_tile(heads, width):
    rows, columns = tiles.narrowed(512, 512, heads, width)
    room = max(tiles.TILE_ELEMENTS, heads * 512 * 512)
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
        for score in ((), (Wide(96),), (Wide(1), Wide(96)))
    ]
    assert [(plan.rows, plan.columns, plan.group) for plan in plans] == [(64, 64, 8), (64, 32, 1), (64, 32, 1)]
