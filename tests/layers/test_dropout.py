"""Dropout of features: what it keeps, on average, and on what its noise depends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.dropout import check_rate, drop
from jattn.part import Rng

X = 1 + jax.random.uniform(jax.random.key(0), (3, 40, 50))
KEYS = jax.random.split(jax.random.key(1), 3)
RNG = Rng(KEYS[0], KEYS[0], KEYS)


def test_without_a_key_or_a_rate_nothing_is_dropped():
    assert drop(X, 0.3, None, "hidden") is X and drop(X, 0.0, RNG, "hidden") is X


def test_a_share_is_zero_and_the_rest_larger():
    y = np.asarray(drop(X, 0.3, RNG, "hidden"))
    # 6000 draws: five deviations of their mean
    assert abs((y == 0).mean() - 0.3) < 5 * (0.3 * 0.7 / y.size) ** 0.5
    np.testing.assert_allclose(y[y != 0], (np.asarray(X) / 0.7)[y != 0], rtol=1e-6)
    assert drop(X.astype(jnp.bfloat16), 0.3, RNG, "hidden").dtype == jnp.bfloat16


def test_noise_is_of_the_example_and_the_slot_alone():
    y = drop(X, 0.3, RNG, "hidden")
    np.testing.assert_array_equal(drop(X[:, :17], 0.3, RNG, "hidden"), y[:, :17])
    np.testing.assert_array_equal(drop(X[1:2], 0.3, RNG._replace(example=KEYS[1:2]), "hidden"), y[1:2])
    np.testing.assert_array_equal(drop(X[:, 17:], 0.3, RNG, "hidden", 17), y[:, 17:])
    np.testing.assert_array_equal(drop(X[1], 0.3, RNG._replace(example=KEYS[1]), "hidden"), y[1])
    kept = np.asarray(y != 0)
    assert (kept[0] != kept[1]).any() and (kept[0, 0] != kept[0, 1]).any()
    assert (kept != np.asarray(drop(X, 0.3, RNG, "feedforward") != 0)).any()


def test_one_key_is_split_over_the_batch():
    kept = np.asarray(drop(X, 0.3, jax.random.key(2), "hidden") != 0)
    assert (kept[0] != kept[1]).any() and (kept[1] != kept[2]).any()
    assert drop(X[0], 0.3, jax.random.key(2), "hidden").shape == X[0].shape


def test_its_gradient_is_what_it_kept():
    slope = jax.grad(lambda x: drop(x, 0.3, RNG, "hidden").sum())(X)
    np.testing.assert_allclose(slope, np.where(drop(X, 0.3, RNG, "hidden") != 0, 1 / 0.7, 0), rtol=1e-6)


@pytest.mark.parametrize("rate", [1, -0.1, float("nan"), "half", True])
def test_what_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=r"Mega.dropout must be a probability in \[0, 1\), got .*; 0 drops nothing"):
        check_rate("Mega", "dropout", rate)


def test_channels_are_dropped_for_all_tokens_of_an_example():
    ones = jnp.ones((3, 40, 500))
    y = np.asarray(drop(ones, 0.5, RNG, "hidden", kind="channels"))
    # 1500 channels: five deviations of their mean
    assert abs((y[:, 0] == 0).mean() - 0.5) < 5 * 0.5 / 1500**0.5
    assert (y == y[:, :1]).all() and (y[0, 0] != y[1, 0]).any()
    np.testing.assert_array_equal(drop(ones[:, 7:], 0.5, RNG, "hidden", 7, "channels"), y[:, 7:])
    with pytest.raises((ValueError, TypeError), match="heads"):
        drop(ones, 0.5, RNG, "hidden", kind="heads")


def test_neighbors_know_nothing_of_each_other():
    lost = np.asarray(drop(jnp.ones((3, 300, 50)), 0.3, RNG, "hidden") == 0)
    for one, other in ((lost[:, 1:], lost[:, :-1]), (lost[..., 1:], lost[..., :-1]), (lost[1:], lost[:-1])):
        # four deviations of the mean of a product
        assert abs((one & other).mean() - 0.09) < 4 * (0.09 * 0.91 / one.size) ** 0.5


def test_examples_of_any_batch_begin_where_they_are_said_to():
    y, starts = drop(X, 0.3, RNG, "hidden"), np.array([0, 7, 21])
    later = drop(X[:, :19], 0.3, RNG, "hidden", jnp.asarray(starts))
    for example, start in enumerate(starts):
        np.testing.assert_array_equal(later[example] == 0, y[example, start : start + 19] == 0)
    np.testing.assert_array_equal(drop(X[:, None], 0.3, RNG, "hidden")[:, 0], y)
