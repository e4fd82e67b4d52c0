"""Names of axes become places on a mesh."""

import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from jattn.layers.axes import Axes, constrained

AXES = Axes(AbstractMesh((2, 4, 1), ("a", "b", "c")), (("batch", ("a", "b")), ("heads", ("c",))))


@pytest.mark.parametrize(("name", "parts"), [("batch", 8), ("heads", 1), ("time", 1), (None, 1)])
def test_a_name_is_split_by_its_axes(name, parts):
    assert AXES.parts(name) == parts


def test_names_make_a_spec():
    assert AXES.spec("batch", None, "heads", "time") == PartitionSpec(("a", "b"), None, ("c",), None)


def test_without_a_mesh_nothing_is_constrained():
    x = jnp.ones(3)
    assert constrained(None, x, "batch") is x
