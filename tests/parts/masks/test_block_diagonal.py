"""Blocks pair by pair, the last one shorter, and the limits of one block and of one token."""

import numpy as np
import pytest

from jattn.part import Place, Span
from jattn.parts.masks import Full
from jattn.parts.masks.block_diagonal import BlockDiagonal
from tests.parts.masks.test_causal import seen


def test_squares_lie_along_the_diagonal():
    pairs, visible = seen(BlockDiagonal(3), 8, 8)
    want = np.kron(np.eye(3, dtype=bool), np.ones((3, 3), bool))[:8, :8]
    np.testing.assert_array_equal(pairs, want)
    assert visible.tolist() == [3, 3, 3, 3, 3, 3, 2, 2]


def test_one_block_is_full_and_blocks_of_one_token_the_diagonal():
    np.testing.assert_array_equal(seen(BlockDiagonal(7), 6, 7)[0], seen(Full(), 6, 7)[0])
    np.testing.assert_array_equal(seen(BlockDiagonal(1), 6, 6)[0], np.eye(6, dtype=bool))


def test_tiles_of_other_blocks_are_skipped():
    place = Place(np.arange(1), 1, 1)
    for first, some, every in (
        (0, False, False),
        (4, True, False),
        (8, True, True),
        (12, True, False),
        (16, False, False),
    ):
        reach = BlockDiagonal(8).reach(Span(9, 12, 20), Span(first, first + 4, 20), place)
        assert reach == (some, every), first


def test_a_size_below_1_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1 token, got 0"):
        BlockDiagonal(0)
