"""Both alignments of the causal mask, pair by pair."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from tests.support import compiled_attend as attend


def seen(mask, queries, keys):
    """Which keys each row sees, read off equal weights: a value of one-hot rows gives them back."""
    value = jnp.eye(keys)[:, None, :]
    found = attend(jnp.zeros((queries, 1, 2)), jnp.zeros((keys, 1, 2)), value, Attention(mask=mask))
    return np.asarray(found.out[:, 0] > 0), np.asarray(found.stats.visible[:, 0])


def test_first_aligned_is_the_lower_triangle():
    for queries, keys in ((5, 5), (3, 7), (7, 3)):
        pairs, visible = seen(Causal(), queries, keys)
        np.testing.assert_array_equal(pairs, np.tril(np.ones((queries, keys), bool)))
        np.testing.assert_array_equal(visible, pairs.sum(1))


def test_last_aligned_lets_the_last_query_see_every_key():
    for queries, keys in ((5, 5), (3, 7), (7, 3)):
        pairs, _ = seen(Causal(align="last"), queries, keys)
        np.testing.assert_array_equal(pairs, np.tril(np.ones((queries, keys), bool), keys - queries))


def test_other_alignments_are_refused():
    with pytest.raises(ValueError, match="'first' or 'last', got 'middle'"):
        Causal(align="middle")
