"""Pieces that do not see each other, drawn by hand."""

import numpy as np
import pytest

from jattn.part import Place, Side, Tile
from jattn.parts.masks.apart import Apart
from jattn.parts.masks.causal import Causal


def drawn(mask, tokens):
    here = np.arange(tokens)
    side = Side(None, here, here, None, None, tokens, {})
    own = {"members": {"0": {}, "1": {}}}
    return np.asarray(mask.pairs(own, Tile(side, side, Place(np.arange(1), 1, 1))))[0].astype(int)


def test_two_pieces_of_two_tokens_behind_a_sink_and_before_a_query():
    assert drawn(Causal() & Apart(sink=1, length=2, count=2), 7).tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
    ]


def test_one_piece_is_causal_alone():
    np.testing.assert_array_equal(
        drawn(Causal() & Apart(sink=3, length=4, count=1), 11), drawn(Causal() & Causal(), 11)
    )


@pytest.mark.parametrize("options", [{"sink": -1}, {"length": 0}, {"count": 0}])
def test_sizes_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"Apart.{next(iter(options))} must be at least"):
        Apart(**options)
