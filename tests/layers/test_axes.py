"""Names of axes become places on a mesh."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, PartitionSpec

from jattn.layers.axes import Axes, constrained, named

AXES = Axes(AbstractMesh((2, 4, 1), ("a", "b", "c")), (("batch", ("a", "b")), ("heads", ("c",))))


@pytest.mark.parametrize(("name", "parts"), [("batch", 8), ("heads", 1), ("time", 1), (None, 1)])
def test_a_name_is_split_by_its_axes(name, parts):
    assert AXES.parts(name) == parts


def test_names_make_a_spec():
    assert AXES.spec("batch", None, "heads", "time") == PartitionSpec(("a", "b"), None, ("c",), None)


def test_without_a_mesh_nothing_is_constrained():
    x = jnp.ones(3)
    assert constrained(None, x, "batch") is x


def test_axes_in_front_of_the_named_ones_have_no_name():
    class Layer(nnx.Module):
        def __init__(self, key):
            self.kernel = nnx.Param(jax.random.normal(key, (2, 3)), axes=("width", "hidden"))
            self.scale = nnx.Param(jnp.ones(3))

    stacked = jax.eval_shape(jax.vmap(lambda key: nnx.state(Layer(key))), jax.random.split(jax.random.key(0), 5))
    assert named(stacked) == {"kernel": (None, "width", "hidden"), "scale": (None, None)}
