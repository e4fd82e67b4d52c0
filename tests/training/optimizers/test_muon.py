"""Tests Muon against optax's own, its orthogonal matrices, and what it decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest

from jattn.training.optimizers import muon
from jattn.training.optimizers.muon import Muon


def test_singular_values_land_near_one():
    matrix = jax.random.normal(jax.random.key(0), (7, 13))
    for x in (matrix, matrix.T):
        values = np.linalg.svd(muon.orthogonal(x, 5), compute_uv=False)
        assert values.min() > 0.6 and values.max() < 1.25


def test_zeros_stay_zeros():
    assert not np.any(muon.orthogonal(jnp.zeros((3, 4)), 5))


def test_three_updates_equal_optax():
    sizes = {"wide": (5, 11), "tall": (11, 5)}
    keys = jax.random.split(jax.random.key(1), 3)
    gradients = [{name: jax.random.normal(key, size) for name, size in sizes.items()} for key in keys]
    dimensions = optax.contrib.MuonDimensionNumbers(0, 1)
    ours = muon.scale_by_muon(0.95, 5)
    theirs = optax.contrib.muon(1.0, muon_weight_dimension_numbers={name: dimensions for name in sizes})
    mine, other = ours.init(gradients[0]), theirs.init(gradients[0])
    for gradient in gradients:
        update, mine = ours.update(gradient, mine)
        expected, other = theirs.update(gradient, other, gradient)
        for name in sizes:
            # five rounds of products in float32, in another order
            np.testing.assert_allclose(update[name], -expected[name], atol=2e-5)


def test_stacked_layers_are_updated_one_by_one():
    gradient = jax.random.normal(jax.random.key(2), (3, 4, 6))
    ours = muon.scale_by_muon(0.95, 5)
    together, _ = ours.update(gradient, ours.init(gradient))
    apart = jnp.stack([ours.update(g, ours.init(g))[0] for g in gradient])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_only_matrices_and_the_head_decay():
    params = {
        "embedding": {"table": jnp.ones((5, 4))},
        "head": {"table": jnp.ones((4, 5))},
        "stack": {
            "repeat": {
                0: {
                    "mixer": {"projecting": {"query": jnp.ones((2, 4, 4))}, "attending": {"score": jnp.ones((2, 4))}},
                    "before_mixer": {"inner": {"scale": jnp.ones((2, 4))}},
                }
            }
        },
    }
    transformation = Muon(rate=0.5, other_rate=0.25, decay=0.1, warm_up=0.0).transformation(10)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transformation.update(nothing, transformation.init(params), params)
    moved = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(updates)}
    for path, update in moved.items():
        expected = -0.05 if "query" in path else -0.025 if "head" in path else 0.0
        np.testing.assert_allclose(update, expected, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize(
    "field", [{"rate": 0}, {"rate": float("nan")}, {"momentum": 1}, {"iterations": 0}, {"decay": -1}, {"final": 2}]
)
def test_options_out_of_range_are_refused(field):
    name = next(iter(field))
    with pytest.raises(ValueError, match=f"Muon.{name} must"):
        Muon(**field)
