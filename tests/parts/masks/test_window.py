"""The window pair by pair, by head, and at its limits."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from tests.parts.masks.test_causal import seen
from tests.support import compiled_attend as attend


def test_left_and_right_count_tokens_beside_the_querys_own():
    pairs, _ = seen(Window(left=2, right=1), 6, 6)
    for query, key in np.ndindex(6, 6):
        assert pairs[query, key] == (query - 2 <= key <= query + 1)


def test_wide_window_is_causal_or_full():
    np.testing.assert_array_equal(seen(Window(left=9, right=0), 9, 9)[0], seen(Causal(), 9, 9)[0])
    np.testing.assert_array_equal(seen(Window(left=9, right=9), 9, 9)[0], seen(Full(), 9, 9)[0])


def test_each_head_has_its_own():
    value = jnp.broadcast_to(jnp.eye(8)[:, None, :], (8, 3, 8))
    zero = jnp.zeros((8, 3, 2))
    found = attend(zero, zero, value, Attention(mask=Window(left=(0, 2, 7))))
    for head, left in enumerate((0, 2, 7)):
        np.testing.assert_array_equal(np.asarray(found.out[:, head] > 0), seen(Window(left=left), 8, 8)[0])


def test_a_size_for_each_head_or_one_for_all():
    zero = jnp.zeros((4, 3, 2))
    with pytest.raises(ValueError, match="one size for each of the 3 query heads, got 2"):
        attend(zero, zero, zero, Attention(mask=Window(left=(1, 2))))


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="Window.right must be at least 0 tokens, got -1"):
        Window(right=-1)


@pytest.mark.parametrize("sizes", [1.5, True, [3, 5], (3, 0.5)], ids=str)
def test_sizes_are_whole_numbers(sizes):
    with pytest.raises(TypeError, match="whole number of tokens"):
        Window(left=sizes)
