"""Positions that begin anew, counted by hand."""

import jax.numpy as jnp
import pytest

from jattn.parts.positions.restarting import Restarting, restarted


def test_pieces_follow_the_sink_and_the_query_follows_the_longest():
    found = restarted(jnp.arange(11), sink=2, length=3, count=2)
    assert found.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7]


def test_one_piece_changes_nothing():
    assert restarted(jnp.arange(11), sink=2, length=3, count=1).tolist() == list(range(11))


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="Restarting.length must be at least 1, got 0"):
        Restarting(length=0)
