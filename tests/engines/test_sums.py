"""Sums of keys: what is kept of earlier ones, and that many small terms are not lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines.sums import Sums, added, kept_low

WIDTH, FEATURES = 2, 3


def drawn(number, seed=0):
    """Sums of so many single tokens, all at the level 0."""
    rng = np.random.default_rng(seed)
    shapes = (WIDTH, FEATURES), (FEATURES,), (WIDTH,), ()
    total, mass, values, count = (jnp.asarray(rng.random((number, *shape)), jnp.float32) for shape in shapes)
    return Sums(jnp.zeros((number, 1)), total, mass, values, count, None)


def one_by_one(sums, terms):
    def step(sums, term):
        return added(0.0, jnp.asarray(True), jnp.zeros(1), sums, term), None

    return jax.jit(lambda sums: jax.lax.scan(step, sums, terms)[0])(sums)


@pytest.mark.parametrize("kept", [True, False])
def test_what_rounding_takes_is_added_again_where_it_is_kept(kept):
    terms = drawn(100_000)
    start = jax.tree.map(lambda x: 0 * x[0], terms)
    found = one_by_one(kept_low(start) if kept else start, terms)
    assert (found.low is not None) == kept
    for name in ("total", "mass"):
        exact = np.asarray(getattr(terms, name), float).sum(0)
        off = np.abs(getattr(found, name) / exact - 1).max()
        # two units in the last place; without it, some hundred
        assert off < 3e-7 if kept else off > 3e-6, name


def test_earlier_sums_are_scaled_or_forgotten():
    earlier, later = (jax.tree.map(lambda x: x[0], drawn(1, seed)) for seed in (1, 2))
    later = later._replace(level=jnp.ones(1))
    spent = jnp.full(1, -0.5)
    found = added(0.0, jnp.asarray(True), spent, kept_low(earlier), later)
    # a level of 1 divides what lay at 0, of which a factor of exp(-0.5) was left
    np.testing.assert_allclose(found.total, np.exp(-1.5) * earlier.total + later.total, rtol=1e-6)
    np.testing.assert_allclose(found.mass, np.exp(-1.5) * earlier.mass + later.mass, rtol=1e-6)
    np.testing.assert_allclose(found.values, np.exp(-0.5) * earlier.values + later.values, rtol=1e-6)
    fresh = added(0.0, jnp.asarray(False), spent, kept_low(earlier), later)
    for one, other in zip(fresh[:5], later[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(low.any() for low in fresh.low)
