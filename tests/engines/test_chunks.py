"""Chunks of two sides, and what their rows see, against loops over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import chunks
from jattn.part import Side


def side(tokens, segment=None, valid=None):
    here = jnp.arange(tokens)
    return Side(jnp.ones((tokens, 2, 3)), here, here, segment, valid, tokens, {"gate": jnp.ones(tokens)})


def test_what_is_added_is_not_valid_and_begins_no_segment():
    query, key, value = chunks.cut(side(5), side(7, jnp.array([1, 1, 1, 4, 4, 4, 4])), jnp.ones((7, 2, 3)), 4)
    assert query.vector.shape == key.vector.shape == value.shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(query.valid.ravel(), np.arange(8) < 5)
    np.testing.assert_array_equal(key.valid.ravel(), np.arange(8) < 7)
    np.testing.assert_array_equal(key.segment.ravel(), [1, 1, 1, 4, 4, 4, 4, 4])
    assert key.extra["gate"].shape == (2, 4) and query.segment is None


@pytest.mark.parametrize("size", [1, 3, 12])
def test_rows_see_the_valid_keys_of_their_run(size):
    segment, valid = np.repeat([2, 5, 2], [4, 3, 5]), np.arange(12) % 5 != 3
    _, cut, _ = chunks.cut(side(12), side(12, jnp.array(segment), jnp.array(valid)), jnp.ones((12, 1, 1)), size)
    run = np.cumsum(np.diff(segment, prepend=-1) != 0)
    count, last, found = jnp.zeros((), jnp.int32), jnp.full((), -1), []
    for number in range(12 // size):
        key = jax.tree.map(lambda x, number=number: x[number], cut)
        seen = chunks.reach(last, key)
        found += chunks.visible(count, seen).tolist()
        count, last = chunks.left(count, last, seen, key)
    assert found == [sum(valid[j] and run[j] == run[i] for j in range(i + 1)) for i in range(12)]
    assert count == found[-1] and last == 2
