"""The identities alone: which derivatives pass, and that the others are refused however they are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines.derivatives import forward_only, reverse_only
from tests.support import float64  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def backward(x):
    return jnp.sin(reverse_only(x)).sum()


def forward(x):
    return jnp.sin(forward_only(x)).sum()


def scanned(function):
    return lambda x: jax.lax.scan(lambda carry, _: (function(carry * x), None), 1.0, None, length=3)[0]


AROUND = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": scanned,
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.stack([x, 2 * x])).sum(),
}
around = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)


@around
def test_gradients_pass_and_forward_mode_over_them(around):
    def all_of(function):
        function = around(function)
        batched = jax.vmap(jax.grad(function))(jnp.asarray([0.3, 0.4]))
        return jax.grad(function)(0.3), jax.hessian(function)(0.3), jax.jit(jax.hessian(function))(0.3), *batched

    np.testing.assert_allclose(all_of(backward), all_of(lambda x: jnp.sin(x).sum()), rtol=1e-14)


FORWARD = {
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,)),
    "jacfwd": jax.jacfwd,
    "linearize": lambda f: lambda x: jax.linearize(f, x)[1](x),
    "gradient of a jvp": lambda f: jax.grad(lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]),
    "vmap of jvp": lambda f: lambda x: jax.vmap(lambda x: jax.jvp(f, (x,), (x,)))(x[None]),
}


@around
@pytest.mark.parametrize("derive", FORWARD.values(), ids=FORWARD)
def test_forward_mode_is_refused(derive, around):
    for function in (derive(around(backward)), jax.jit(derive(around(backward)))):
        with pytest.raises(TypeError, match="pass implementation='dense' to jattn.Attention or to"):
            function(jnp.asarray(0.3))


@around
def test_reverse_mode_is_refused_where_forward_mode_passes(around):
    _, slope = jax.jvp(around(forward), (0.3,), (1.0,))
    np.testing.assert_allclose(slope, jax.grad(around(lambda x: jnp.sin(x)))(0.3), rtol=1e-14)
    for function in (jax.grad(around(forward)), jax.jit(jax.grad(around(forward)))):
        with pytest.raises(ValueError, match="pass implementation='dense' to jattn.Attention or to"):
            function(0.3)


@pytest.mark.parametrize("identity", [reverse_only, forward_only])
def test_nothing_is_refused_where_no_derivative_is_asked_for(identity):
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(jax.vmap(jax.jit(identity))(x), x)
    assert jax.jvp(lambda y: (y * identity(x)).sum(), (x,), (x,))[1] == 5


def test_they_leave_nothing_in_the_program():
    def text(first, last):
        def function(x):
            return jax.grad(lambda x: jnp.sin(first(x)))(last(x))

        return jax.jit(function).lower(0.3).as_text()

    assert text(reverse_only, forward_only) == text(lambda x: x, lambda x: x)
