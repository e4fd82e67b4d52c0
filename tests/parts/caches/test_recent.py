"""Recent tokens alone: what is kept and shown, and that masks which look farther back are refused."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Side
from jattn.parts.caches.recent import Recent
from jattn.parts.caches.whole import Whole
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.scores.forgetting import Forgetting

CACHE, DIMS = Recent(3), Dims(2, 1, 1, 4, 3, 6)


def side(first, count):
    here = jnp.arange(first, first + count)
    vector = here.astype(jnp.float32)[:, None, None] * jnp.ones((1, 1, 4))
    return Side(vector, here, here, None, None, first + count, {})


def test_new_tokens_see_the_last_ones_and_each_other():
    kept = CACHE.start(DIMS, jnp.float32, {})
    for first, count in ((1, 2), (3, 4), (7, 1)):
        new = side(first, count)
        shown = CACHE.append(kept, new, new.vector[..., :3])
        kept = CACHE.settled(shown)
    view = CACHE.view(shown, new)
    np.testing.assert_array_equal(view.vector[:, 0, 0], [4, 5, 6, 7])
    np.testing.assert_array_equal(view.position, [4, 5, 6, 7])
    # slots count from 0, positions here from 1
    np.testing.assert_array_equal(view.index, [3, 4, 5, 6])
    assert kept.length == 7 and kept.valid.all()
    np.testing.assert_array_equal(kept.value[:, 0, 0], [5, 6, 7])
    begun = CACHE.append(CACHE.start(DIMS, jnp.float32, {}), side(0, 1), jnp.ones((1, 1, 3)))
    np.testing.assert_array_equal(CACHE.view(begun, side(0, 1)).valid, [False, False, False, True])


@pytest.mark.parametrize("mask", [Causal() & BlockDiagonal(3), Causal() & BlockDiagonal(2), Window(left=2, right=0)])
def test_masks_that_look_no_farther_back_are_served(mask):
    assert Attention(mask=mask, cache=CACHE).state(DIMS, jnp.float32, {"score": {}}).key.shape == (3, 1, 4)


@pytest.mark.parametrize("mask", [Causal(), Causal() & BlockDiagonal(4), Window(left=3, right=0)])
def test_masks_that_look_farther_are_refused(mask):
    with pytest.raises(ValueError, match=r"Recent\(3\) keeps the last 3 tokens, got a mask that lets rows see farther"):
        Attention(mask=mask, cache=CACHE).state(DIMS, jnp.float32, {})


def test_scores_that_sum_over_all_tokens_are_refused():
    with pytest.raises(ValueError, match=r"Recent\(3\) keeps the last 3 tokens, got Forgetting, which sums over all"):
        Attention(Forgetting(), Causal() & BlockDiagonal(3), cache=CACHE).state(DIMS, jnp.float32, {})


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="Recent.size must be at least 1 token, got 0"):
        Recent(0)
    kept = Recent(4).start(DIMS, jnp.float32, {})
    with pytest.raises(ValueError, match=r"got one of the last 4 tokens for Recent\(3\)"):
        CACHE.append(kept, side(0, 1), jnp.ones((1, 1, 3)))


def test_a_state_of_the_other_kind_of_cache_is_refused():
    # of the same sizes, but the newest token elsewhere
    last, all_of_them = CACHE.start(DIMS, jnp.float32, {}), Whole().start(replace(DIMS, length=3), jnp.float32, {})
    with pytest.raises(ValueError, match=r"got one of all 3 tokens for Recent\(3\)"):
        CACHE.append(all_of_them, side(0, 1), jnp.ones((1, 1, 3)))
    with pytest.raises(ValueError, match=r"got one of the last 3 tokens alone for Whole\(\)"):
        Whole().check(last, 1)
