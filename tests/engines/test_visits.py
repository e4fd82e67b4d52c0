"""Which tiles are visited, how much of each, and that visiting less changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import Pairs, Rule, tiled, visits
from jattn.engines.tiles import Step
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Place, Side
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.top_k import TopK
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import (
    assert_causal,
    assert_tiled_equals_dense,
    attended,
    float64,  # noqa: F401
    make,
    padded_layout,
    resize,
    small_tiles,
)


def all_planned(mask, tokens=64, heads=4, segments=None, valid=None):
    here = np.arange(tokens)
    side = Side(jnp.zeros((tokens, heads, 2)), here, here, segments, valid, tokens, {})
    place = Place(np.arange(heads), heads, heads)
    return visits.plans(Rule(1.0, mask=mask), side, side, jnp.zeros((tokens, heads, 2)), place, Pairs())


def planned(*arguments, **options):
    plans, listed, _ = all_planned(*arguments, **options)
    return plans[0], listed[0]


def visited(listed, group, tile, kind=slice(None)):
    """The tiles beside one, all of them or those of one kind."""
    order, ends = (np.asarray(x) for x in listed)
    kinds = range(ends.shape[-1] - 1)[kind] if isinstance(kind, slice) else [kind]
    return [int(n) for k in kinds for n in order[group, tile, ends[group, tile, k] : ends[group, tile, k + 1]]]


@pytest.fixture
def fine(monkeypatch):
    """Tiles of 16 x 16, all heads at once, visited by blocks of 4."""
    small_tiles(monkeypatch, 16, 16, elements=4 * 16 * 16)
    resize(monkeypatch, slim_pairs=16 * 16, block=4, fine_side=4)


def test_one_tile_needs_no_list(fine):
    plan, listed = planned(Causal(), tokens=16)
    assert listed is None and len(plan.kinds) == 1


def test_causal_visits_the_lower_triangle_both_ways_and_trims_its_diagonal(fine):
    plan, (forward, backward) = planned(Causal())
    whole, diagonal = plan.kinds
    assert whole.whole and whole.steps == (Step(0, 16, 0, 16),)
    assert not diagonal.whole and diagonal.steps == tuple(Step(at, 16 - at, at, 4) for at in (0, 4, 8, 12))
    for tile in range(4):
        assert visited(forward, 0, tile, 0) == [*range(tile)] and visited(forward, 0, tile, 1) == [tile]
        # a head at a time
        assert visited(backward, 3, tile, 0) == [*range(tile + 1, 4)] and visited(backward, 3, tile, 1) == [tile]


def test_without_a_limit_there_is_no_mask_arithmetic(fine):
    plan, (forward, _) = planned(Full())
    assert [kind.whole for kind in plan.kinds] == [True]
    assert visited(forward, 0, 2) == [0, 1, 2, 3]


def test_what_a_clamped_tile_does_not_own_is_never_whole(fine):
    _, (forward, backward) = planned(Full(), tokens=53)
    for tile in (0, 3):
        assert visited(forward, 0, tile, 0) == [0, 1, 2] and visited(forward, 0, tile, 1) == [3]
    # a row that two tiles hold would give its gradients twice
    assert visited(backward, 0, 0, 0) == [0, 1, 2] and visited(backward, 0, 0, 1) == [3]
    assert visited(backward, 0, 3, 0) == [] and sorted(visited(backward, 0, 3, 1)) == [0, 1, 2, 3]


def test_windows_by_head_make_lists_by_group_of_heads(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=16 * 16)
    plan, (forward, _) = planned(Window(left=(0, 0, 63, 16)))
    assert plan.group == 1
    counts = [[len(visited(forward, head, tile)) for tile in range(4)] for head in range(4)]
    assert counts == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 2, 2]]


def test_a_gap_between_sinks_and_window_is_skipped(fine):
    # keys further back than 48 and keys within 8: the middle is dead
    _, (forward, _) = planned((Causal() & ~Window(left=47)) | Window(left=8), tokens=80)
    assert sorted(visited(forward, 0, 4)) == [0, 1, 3, 4]


def test_the_clamped_last_tile_asks_for_the_rows_it_holds(fine):
    # 53 tokens: the last tile starts at 37, whose window of 4 reaches back into tile 2
    _, (forward, _) = planned(Window(left=4), tokens=53)
    assert sorted(visited(forward, 0, 3)) == [2, 3]


def test_a_narrow_window_visits_few_blocks(fine):
    plan, (forward, _) = planned(Window(left=3))
    elements = sum(
        step.rows * step.columns
        for tile in range(4)
        for number, kind in enumerate(plan.kinds)
        for _ in visited(forward, 0, tile, number)
        for step in kind.steps
    )
    # each row of blocks meets its own and the one before
    assert elements == (2 * 16 - 1) * 4 * 4


def test_many_patterns_share_one_whole_step(fine, monkeypatch):
    monkeypatch.setattr(visits, "MOST_STEPS", 3)
    plan, _ = planned(Causal())
    assert [kind.steps for kind in plan.kinds] == 2 * [(Step(0, 16, 0, 16),)]


@pytest.mark.parametrize("steers", [True, False])
def test_segments_and_valid_tokens_say_what_is_visited(fine, monkeypatch, steers):
    monkeypatch.setattr(visits, "STEERED_FROM", 64 if steers else 65)
    segments, valid = jnp.arange(64) // 32, jnp.arange(64) < 48
    _, (forward, backward) = planned(Causal(), segments=segments, valid=valid)
    found = [sorted(visited(forward, 0, tile)) for tile in range(4)]
    assert found == ([[0], [0, 1], [2], []] if steers else [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]])
    assert sorted(visited(backward, 0, 0)) == ([0, 1] if steers else [0, 1, 2, 3])


MASKS = {
    "causal": Causal(),
    "full": Full(),
    "windows": Window(left=(3, 0, 60, 17), right=2),
    "sinks": Causal() & (Window(left=6) | Prefix(3)),
    "last": Causal(align="last"),
}


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        *((name, None) for name in ("causal", "full", "windows")),
        *(
            pytest.param(name, cost, marks=pytest.mark.slow)
            for name, cost in (
                ("sinks", None),
                ("last", None),
                ("windows", 0),
                ("causal", 0),
                ("causal", 1e9),
                ("last", 1e9),
                ("sinks", 1e9),
            )
        ),
    ],
)
def test_visiting_by_blocks_changes_nothing(name, cost, monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch, 16, 12, elements=2 * 16 * 12)
    resize(monkeypatch, block=5)
    monkeypatch.setattr(visits, "STEERED_FROM", 1)
    if cost is not None:
        monkeypatch.setattr(visits, "FINE_COST", cost)
    assert_tiled_equals_dense(Attention(mask=MASKS[name]), Layout() if cost is None else padded_layout())


@pytest.mark.parametrize(("document", "pays"), [(4, True), (64, False)])
def test_small_tiles_are_for_data_that_leave_few_pairs(fine, monkeypatch, document, pays):
    monkeypatch.setattr(visits, "STEERED_FROM", 64)
    plans, listed, chosen = all_planned(Causal(), segments=jnp.arange(64) // document)
    assert [plan.rows for plan in plans] == [16, 4] and bool(chosen) == pays
    if pays:
        assert visited(listed[1][0], 0, 6) == [6]


def test_without_segments_there_is_one_plan(fine, monkeypatch):
    monkeypatch.setattr(visits, "STEERED_FROM", 64)
    plans, _, chosen = all_planned(Causal(), valid=jnp.arange(64) < 48)
    assert len(plans) == 1 and chosen is None


@pytest.mark.parametrize(("tokens", "steps"), [(512, 1), (1009, 2)])
def test_the_only_tile_is_visited_by_halves_where_it_is_large(tokens, steps):
    plan, listed = planned(Full(), tokens=tokens, heads=1)
    assert listed is None and len(plan.kinds[0].steps) == steps
    assert sum(step.rows * step.columns for step in plan.kinds[0].steps) == tokens**2


@pytest.mark.slow
@pytest.mark.parametrize(
    "attention",
    [
        Attention(normalizer=Sparsemax()),
        # half a minute of compiling
        Attention(T5Bias(), normalizer=TopK(3)),
    ],
)
def test_other_normalizers_and_biases_are_visited_by_blocks(attention, monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch, 16, 12, elements=2 * 16 * 12)
    resize(monkeypatch, block=8)
    attention = dataclasses.replace(attention, mask=Causal())
    assert_tiled_equals_dense(attention, bias_shape=(1, 53, 53))
    assert_causal(attention)


def test_fewer_keys_than_queries_and_one_tile_by_blocks(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch, 64, 64, elements=4 * 64 * 64)
    resize(monkeypatch, block=8)
    assert_tiled_equals_dense(Attention(mask=Causal()), tokens=53, keys=29)
    assert_tiled_equals_dense(Attention(mask=Causal(align="last")), tokens=29, keys=53, heads=(4, 1, 2))


class Nothing(type(Full())):
    """Reaches nothing, whatever its pairs say."""

    def reach(self, query, key, place):
        return False, False


def test_one_dead_tile_is_an_empty_result():
    made, buffers = make(Attention())
    found = attended(tiled, Attention(mask=Nothing()), made, buffers)
    assert not found.out.any() and not found.stats.visible.any() and (found.stats.log_normalizer == -jnp.inf).all()


def test_positions_that_are_data_decide_while_it_runs(fine):
    q = jax.random.normal(jax.random.key(0), (64, 4, 8))

    @jax.jit
    def shuffled(positions):
        return attend(q, q, q, Attention(mask=Window(left=5)), layout=Layout(positions=positions)).out

    order = np.random.default_rng(0).permutation(64)
    seen = (order[:, None] - order[None] <= 5) & (order[:, None] >= order[None])
    want = attend(q, q, q, layout=Layout(mask=jnp.asarray(seen)[None])).out
    np.testing.assert_allclose(shuffled(jnp.asarray(order)), want, rtol=2e-5, atol=2e-6)
