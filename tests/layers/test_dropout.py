"""Dropout keeps the mean, and depends on key, example and slot alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.dropout import dropout
from jattn.part import Rng

KEY = jax.random.key(0)
ONES = jnp.ones((3, 400, 50))


@pytest.mark.parametrize("kind", ["entries", "channels"])
def test_entries_are_0_or_larger_by_what_keeps_the_mean(kind):
    y = np.asarray(dropout(ONES, 0.2, KEY, 0, kind))
    np.testing.assert_array_equal(np.unique(y), np.float32([0, 1 / np.float32(0.8)]))
    # six standard errors of a share of 6e4 entries, or of 150 channels
    draws = y.size if kind == "entries" else 150
    assert abs((y == 0).mean() - 0.2) < 6 * 0.4 / np.sqrt(draws)


def test_channels_are_dropped_for_all_tokens_of_an_example_and_entries_each_for_itself():
    y = np.asarray(dropout(ONES, 0.5, KEY, 0, "channels"))
    assert (y == y[:, :1]).all() and (y[0, 0] != y[1, 0]).any() and 0 < (y == 0).mean() < 1
    y = np.asarray(dropout(ONES, 0.5, KEY, 0))
    assert ((y == 0).mean(1) > 0.3).all() and ((y == 0).mean(2) > 0.1).all()


@pytest.mark.parametrize("kind", ["entries", "channels"])
def test_noise_hears_key_example_slot_and_site_alone(kind):
    y = dropout(ONES, 0.5, KEY, 1, kind)
    np.testing.assert_array_equal(dropout(ONES[:2, :7], 0.5, KEY, 1, kind), y[:2, :7])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(3))
    np.testing.assert_array_equal(dropout(ONES, 0.5, Rng(KEY, KEY, keys), 1, kind), y)
    np.testing.assert_array_equal(dropout(ONES[2], 0.5, Rng(KEY, KEY, keys[2]), 1, kind), y[2])
    for other in (dropout(ONES, 0.5, KEY, 2, kind), dropout(ONES, 0.5, jax.random.key(1), 1, kind)):
        assert (other != y).any()


def test_no_key_no_noise_and_the_gradient_is_what_was_kept():
    x = jax.random.normal(KEY, (2, 5, 6), jnp.bfloat16)
    assert dropout(x, 0.5, None, 0) is x and dropout(x, 0.0, KEY, 0) is x
    assert dropout(x, 0.5, KEY, 0).dtype == jnp.bfloat16
    gradient = jax.grad(lambda x: dropout(x, 0.5, KEY, 0).sum())(ONES)
    np.testing.assert_array_equal(gradient, dropout(ONES, 0.5, KEY, 0))


@pytest.mark.parametrize(("rate", "kind"), [(1.0, "entries"), (-0.1, "entries"), (0.1, "heads")])
def test_what_is_no_probability_or_kind_is_refused(rate, kind):
    with pytest.raises((ValueError, TypeError), match="probability|heads"):
        dropout(ONES, rate, KEY, 0, kind)
