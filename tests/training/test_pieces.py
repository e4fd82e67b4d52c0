"""Tests that pieces are what their concatenation would be, and that a slice reads no more than it needs."""

import numpy as np
import pytest

from jattn.training.pieces import Pieces

# an empty piece at the start, in the middle and at the end
LENGTHS = [0, 3, 1, 0, 0, 4, 2, 0]
WHOLE = np.arange(10, dtype=np.uint8)
BEGINS = np.cumsum([0, *LENGTHS])


def pieces(log):
    def read(number, start, stop):
        assert 0 <= start < stop <= LENGTHS[number]
        log.append(number)
        return WHOLE[BEGINS[number] + start : BEGINS[number] + stop]

    return Pieces(LENGTHS, read)


def test_every_slice_is_the_slice_of_the_whole():
    made = pieces([])
    assert len(made) == 10
    for start in range(-12, 13):
        for stop in (None, *range(-12, 13)):
            found = made[start:stop]
            np.testing.assert_array_equal(found, WHOLE[start:stop])
            assert found.dtype == np.uint8


@pytest.mark.parametrize("start, stop, met", [(0, 3, [1]), (2, 4, [1, 2]), (3, 9, [2, 5, 6]), (8, 10, [6]), (5, 5, [])])
def test_a_slice_reads_only_the_pieces_that_it_meets(start, stop, met):
    log = []
    pieces(log)[start:stop]
    assert log == met


def test_lengths_beyond_memory_are_no_arrays():
    made = Pieces([1 << 50, 1 << 50], lambda number, start, stop: np.arange(start, stop))
    np.testing.assert_array_equal(made[(1 << 50) - 2 : (1 << 50) + 2], [(1 << 50) - 2, (1 << 50) - 1, 0, 1])


def test_a_step_is_refused():
    with pytest.raises(ValueError, match="without a step"):
        pieces([])[::2]
