"""The two sides of one example: which tokens are valid, where they lie, and what is made of the rest."""

import jax.numpy as jnp
import numpy as np

from jattn.mechanisms import Layout, Split, sides
from jattn.parts.positions import Unturned


def split(queries=3, keys=5):
    return Split(jnp.ones((queries, 4, 2)), jnp.ones((keys, 2, 2)), jnp.ones((keys, 2, 2)))


def test_sides_say_where_their_tokens_lie():
    layout = Layout(valid=(None, jnp.asarray(2)), positions=(None, jnp.arange(7, 12)))
    query, key, place = sides.both(Unturned(), {}, split(), layout, 0, None)
    assert isinstance(query.index, np.ndarray) and query.length == 3 and query.valid is None
    np.testing.assert_array_equal(key.position, np.arange(7, 12))
    np.testing.assert_array_equal(key.valid, [True, True, False, False, False])
    assert key.length == 2 and (place.heads, place.key_heads) == (4, 2)


def test_what_is_not_valid_is_emptied():
    _, key, _ = sides.both(Unturned(), {}, split(), Layout(valid=(None, jnp.asarray(2))), 0, None)
    emptied = sides.emptied(key._replace(vector=key.vector * jnp.nan)).vector
    assert np.isnan(emptied[:2]).all() and not emptied[2:].any()


def test_tokens_go_on_behind_those_held():
    query, _, _ = sides.both(Unturned(), {}, split(), Layout(), jnp.asarray(6), None)
    np.testing.assert_array_equal(query.index, [6, 7, 8])
    assert query.length == 9
