"""Values as other shapes see them."""

import jax
import jax.numpy as jnp
from jax.extend import core

from jattn.costs.graph import OWNED, PUBLIC, SHARED, View, closed, graph


def made(function, *sizes, secret=None):
    jaxpr = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes))
    return graph(jaxpr, secret or [SHARED] * len(sizes), lambda node: [SHARED] * 9)


def behind(function, *sizes):
    """The axes of what stands behind a function's result, and its shape."""
    view = View.of(made(function, *sizes).outputs[0]).through()
    return view.axes, view.value.shape


def test_axes_are_followed_through_moves():
    assert behind(lambda x: x.T, (3, 4)) == ((1, 0), (3, 4))
    assert behind(lambda x: jnp.broadcast_to(x[:, None], (3, 4)), (3,)) == ((0, None), (3,))
    assert behind(lambda x: x.reshape(1, 3, 1, 4), (3, 4)) == ((None, 0, None, 1), (3, 4))
    # two axes made one: what stands behind is another array
    assert behind(lambda x: x.reshape(12), (3, 4)) == ((0,), (12,))


def test_guards_are_followed_where_a_public_mask_decides():
    mask = jnp.tri(3) > 0
    assert behind(lambda x: jnp.where(mask, jnp.exp(x).T, 0), (3, 3))[0] == (1, 0)
    # a secret choice for each entry makes another array, one for each row leaves it what it is
    assert behind(lambda x: jnp.where(x > 0, x.T, 0), (3, 3))[0] == (0, 1)
    assert behind(lambda x: jnp.broadcast_to(jnp.where(x > 0, x, 1)[:, None], (3, 4)), (3,)) == ((0, None), (3,))


def test_a_sum_with_nothing_is_looked_through():
    assert behind(lambda x: x.T - jnp.zeros((4, 1)), (3, 4)) == ((1, 0), (3, 4))
    assert behind(lambda x: 0 + x.T, (3, 4)) == ((1, 0), (3, 4))
    # the other way round it is another number
    assert behind(lambda x: 0 - x.T, (3, 4)) == ((0, 1), (4, 3))


def test_secrets_are_those_of_what_is_read():
    outputs = made(lambda a, b, c: (a + 1, b * a, b + c), (3,), (3,), (3,), secret=[PUBLIC, OWNED, SHARED]).outputs
    assert [value.secret for value in outputs] == [PUBLIC, OWNED, SHARED]


def test_equal_operations_are_one():
    first, second = made(lambda x: (jnp.exp(x), jax.jit(jnp.exp)(x)), (3,)).outputs
    assert first is second


def test_open_jaxprs_are_closed():
    jaxpr = jax.make_jaxpr(jnp.exp)(1.0)
    assert closed(jaxpr) is jaxpr and isinstance(closed(jaxpr.jaxpr), core.ClosedJaxpr)
