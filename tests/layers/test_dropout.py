"""Dropped features: the rate, the mean, and what decides which they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.dropout import drop
from jattn.part import Rng

KEYS = jax.random.split(jax.random.key(0), 4)
RNG = Rng(KEYS[0], KEYS[0], KEYS)
X = jnp.ones((4, 300, 50))


def dropped(rng=RNG, name="here", first=0, x=X, rate=0.3):
    return np.asarray(drop(x, rate, rng, name, first))


def test_features_drop_at_the_rate_and_the_others_keep_the_mean():
    got = dropped()
    np.testing.assert_allclose(np.unique(got), [0, 1 / 0.7], rtol=1e-6)
    # four deviations of 60000 draws
    assert abs((got == 0).mean() - 0.3) < 4 * (0.21 / got.size) ** 0.5
    # neighbors along tokens, features and examples know nothing of each other
    for one, other in ((got[:, 1:], got[:, :-1]), (got[..., 1:], got[..., :-1]), (got[1:], got[:-1])):
        assert abs(((one == 0) & (other == 0)).mean() - 0.09) < 4 * (0.09 * 0.91 / one.size) ** 0.5


def test_what_drops_depends_on_key_place_and_slot_alone():
    whole = dropped()
    np.testing.assert_array_equal(dropped(RNG._replace(example=KEYS[2:]), x=X[2:]), whole[2:])
    np.testing.assert_array_equal(dropped(first=100, x=X[:, 100:]), whole[:, 100:])
    starts = jnp.array([0, 7, 100, 250])
    later = dropped(first=starts, x=X[:, :50])
    for example, start in enumerate(starts):
        np.testing.assert_array_equal(later[example], whole[example, start : start + 50])
    np.testing.assert_array_equal(dropped(x=X.reshape(2, 2, 300, 50)).reshape(X.shape), whole)
    assert (dropped(name="there") != whole).mean() > 0.3


@pytest.mark.parametrize("shape", [(300, 50), (4, 300, 50)])
def test_one_key_serves_all_examples(shape):
    got = dropped(KEYS[1], x=jnp.ones(shape)).reshape(-1, 300, 50)
    assert len({each.tobytes() for each in got}) == len(got)
    assert dropped(KEYS[1], x=jnp.ones(shape, jnp.bfloat16)).dtype == jnp.bfloat16


def test_no_key_no_noise():
    assert drop(X, 0.5, None, "here") is X and drop(X, 0.0, RNG, "here") is X


def test_gradients_are_those_of_what_stays():
    gradient = jax.grad(lambda x: drop(x, 0.3, RNG, "here").sum())(X)
    np.testing.assert_array_equal(gradient, dropped())
