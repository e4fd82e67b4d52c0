"""A module's hold on a part's arrays gives back what went in."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattn.layers.buffers import Buffer, arrays, hold, named, renew
from jattn.part import Variables

GIVEN = Variables(
    {"a": jnp.ones(2), "score": {"0": {"kernel": jnp.zeros((2, 3))}}},
    {"score": {"0": {"count": jnp.arange(2)}, "1": {"mean": jnp.ones(1)}}},
)


def test_arrays_come_back_by_name():
    found = arrays(hold(GIVEN))
    assert jax.tree.structure(found) == jax.tree.structure(GIVEN)
    jax.tree.map(np.testing.assert_array_equal, found, GIVEN)


def test_nothing_is_held_of_nothing():
    assert arrays(hold(Variables({}, {}))) == Variables({}, {})


def test_params_and_buffers_are_told_apart():
    _, params, buffers = nnx.split(hold(GIVEN), nnx.Param, Buffer)
    assert len(jax.tree.leaves(params)) == 2 and len(jax.tree.leaves(buffers)) == 2


def test_renewing_keeps_the_rest():
    held = hold(GIVEN)
    renew(held, {"score": {"0": {"count": jnp.array([7, 8])}}})
    found = arrays(held)
    np.testing.assert_array_equal(found.buffers["score"]["0"]["count"], [7, 8])
    np.testing.assert_array_equal(found.buffers["score"]["1"]["mean"], [1])


def test_what_nnx_capture_adds_is_no_array():
    class Holder(nnx.Module):
        def __init__(self):
            self.held = hold(GIVEN)

    found, _ = nnx.capture(lambda module: arrays(module.held), nnx.Intermediate)(Holder())
    assert jax.tree.structure(found) == jax.tree.structure(GIVEN)


def test_axes_in_front_of_the_named_ones_have_no_name():
    class Layer(nnx.Module):
        def __init__(self, key):
            self.kernel = nnx.Param(jax.random.normal(key, (2, 3)), axes=("width", "hidden"))
            self.scale = nnx.Param(jnp.ones(3))

    stacked = jax.eval_shape(jax.vmap(lambda key: nnx.state(Layer(key))), jax.random.split(jax.random.key(0), 5))
    assert named(stacked) == {"kernel": (None, "width", "hidden"), "scale": (None, None)}


def test_nested_arrays_have_the_names_that_lie_beside_them():
    held = hold(GIVEN, {"score": {"0": {"kernel": ("width", "heads")}}})
    assert named(nnx.state(held, nnx.Param))["score"]["0"] == {"kernel": ("width", "heads")}
