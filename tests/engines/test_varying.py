"""Arrays become ones that differ over the axes that others differ over, where types tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jattn.engines.varying import alike, axes


def types(x, y):
    mesh = jax.make_mesh((1, 1), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    found = []

    def look(x, y):
        known = np.arange(3)
        cast = alike({"x": x, "zeros": jnp.zeros(2), "known": known}, (x, y))
        assert cast["known"] is known
        found.append((axes(x), axes(y), axes(cast["x"]), axes(cast["zeros"])))
        return x

    jax.shard_map(look, mesh=mesh, in_specs=(x, y), out_specs=x)(jnp.ones(2), jnp.ones(2))
    return [set(each) for each in found[0]]


def test_arrays_differ_over_all_axes_over_which_others_do():
    assert types(P("a"), P(("a", "b"))) == [{"a"}, {"a", "b"}, {"a", "b"}, {"a", "b"}]
    assert types(P("a"), P()) == [{"a"}, set(), {"a"}, {"a"}]


def test_a_loop_may_then_begin_with_zeros():
    mesh = jax.make_mesh((1,), ("a",), axis_types=(AxisType.Auto,))

    def summed(x, begin):
        return jax.lax.fori_loop(0, 3, lambda _, total: total + x, begin(x))

    def over(begin):
        return jax.shard_map(lambda x: summed(x, begin), mesh=mesh, in_specs=P("a"), out_specs=P("a"))(jnp.ones(2))

    with pytest.raises(TypeError, match="manual axis types do not match"):
        over(lambda x: jnp.zeros(2))
    assert over(lambda x: alike(jnp.zeros(2), x)).tolist() == [3, 3]


def test_outside_of_a_mesh_nothing_changes():
    x = jnp.ones(2)
    assert axes((x, 1, np.ones(2))) == set() and alike(x, x) is x
