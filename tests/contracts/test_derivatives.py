"""What every score and normalizer must hold of its derivatives: forward mode, and both ways to the second order; and
what a user is told who asks the tiled engine for those that it lacks.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense, tiled
from jattn.mechanisms.attention import Attention, attend
from jattn.mechanisms.dot_product import dot_product_attention
from jattn.mechanisms.entropy import attention_entropy
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.relaxed import Relaxed
from jattn.parts.normalizers.top_k import TopK
from jattn.parts.scores import Score
from tests.support import (
    assert_close,
    attended,
    float64,  # noqa: F401
    make,
    one_of_each,
    parts_of,
    readings,
    small_tiles,
)

# of differences: rounding stays below 1e-8, and so does the bend, steep where a weight is nearly 0
STEP = 1e-6


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def assert_derivatives(attention, tokens, keys):
    """Along one direction, of both engines, beside differences of dense values and of tiled gradients."""
    made, buffers = make(attention, tokens=tokens, keys=keys, heads=(2, 2, 1))
    rng = np.random.default_rng(11)
    along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), made)

    def loss(engine):
        def weighed(made):
            got = readings(attended(engine, attention, made, buffers))
            rng = np.random.default_rng(7)
            return sum(
                (got[name] * rng.normal(size=got[name].shape)).sum() for name in sorted(got) if name != "visible"
            )

        return weighed

    @jax.jit
    def measured(made):
        (value, _), (slope, forward) = jax.jvp(jax.value_and_grad(loss(dense)), (made,), (along,))
        reverse = jax.grad(lambda made: dot(jax.grad(loss(dense))(made), along))(made)
        gradient, tiled_forward = jax.jvp(jax.grad(loss(tiled)), (made,), (along,))
        return (value, gradient), (slope, forward), (dot(gradient, along), reverse), (slope, tiled_forward)

    _, found, *others = measured(made)
    for other in others:
        # orders of summation differ, some hundred units in the last place
        assert_close(found, other, 1e-12)
    made, along = jax.device_get((made, along))
    ends = [measured(jax.tree.map(lambda x, d, way=way: x + way * STEP * d, made, along))[0] for way in (1, -1)]
    assert_close(found, jax.tree.map(lambda a, b: (a - b) / (2 * STEP), *jax.device_get(ends)), 1e-7)


@pytest.fixture
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch, rows=3, columns=3, elements=18)


@pytest.mark.parametrize(
    "normalizer", one_of_each(parts_of(Normalizer), {"LearnedEntmax"}), ids=lambda cls: cls.__name__
)
def test_forward_mode_and_second_order_of_a_normalizer(normalizer, tiles_that_divide_nothing):
    part = TopK(3) if normalizer is TopK else normalizer()
    assert_derivatives(Attention(normalizer=part), tokens=5, keys=7)


@pytest.mark.parametrize("score", one_of_each(parts_of(Score), {"Forgetting"}), ids=lambda cls: cls.__name__)
def test_forward_mode_and_second_order_of_a_score(score, tiles_that_divide_nothing):
    assert_derivatives(Attention(score=score(), mask=Causal()), tokens=5, keys=5)


def drawn(tokens):
    return jax.random.normal(jax.random.key(0), (2, tokens, 1, 4))


# each of a number and of queries, keys and values in one
CALLS = {
    "attend": lambda x, data: attend(x * data, data, data, Attention(mask=Causal())).out.sum(),
    "statistics": lambda x, data: attend(x * data, data, data, Attention(normalizer=Relaxed())).stats.max_logit.sum(),
    "dot_product_attention": lambda x, data: dot_product_attention(data, x * data, data).sum(),
    "attention_entropy": lambda x, data: attention_entropy(x * data, data).sum(),
    "learned scale": lambda x, data: dot_product_attention(data, data, data, scale=x).sum(),
}
LACKING = {
    "jvp": (TypeError, lambda f: lambda x: jax.jvp(f, (x,), (x,))[1]),
    "jacfwd": (TypeError, jax.jacfwd),
    "linearize": (TypeError, lambda f: lambda x: jax.linearize(f, x)[1](x)),
    "reverse over forward": (TypeError, lambda f: jax.grad(lambda x: jax.jvp(f, (x,), (1.0,))[1])),
    "reverse over reverse": (ValueError, lambda f: jax.grad(jax.grad(f))),
}


lengths = pytest.mark.parametrize("tokens", [4, pytest.param(600, marks=pytest.mark.slow)])


def refused(error):
    return pytest.raises(
        error, match="pass implementation='dense' to jattn.Attention or to jattn.dot_product_attention"
    )


@lengths
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_the_tiled_engine_lacks_is_one_sentence_that_names_dense(call, tokens):
    data = drawn(tokens)
    for error, derive in LACKING.values():
        for around in (lambda f: f, jax.jit, jax.checkpoint):
            with refused(error):
                jax.jit(derive(around(lambda x: call(x, data))))(1.0)


@pytest.mark.parametrize("tokens", [4, 600])
@pytest.mark.parametrize(("error", "derive"), LACKING.values(), ids=LACKING)
def test_it_is_so_at_every_length(error, derive, tokens):
    data = drawn(tokens)
    with refused(error):
        jax.jit(derive(lambda x: CALLS["dot_product_attention"](x, data)))(1.0)


@lengths
def test_it_is_so_outside_of_compiled_functions(tokens):
    data = drawn(tokens)
    for error, derive in LACKING.values():
        with refused(error):
            derive(lambda x: CALLS["attend"](x, data))(1.0)


@lengths
def test_dense_has_them_all_and_tiled_forward_mode_over_gradients(tokens, float64):  # noqa: F811
    data = drawn(tokens)

    def call(implementation, x):
        found = attend(x * data, data, data, Attention(mask=Causal(), implementation=implementation))
        return (found.out**2).sum() + found.stats.entropy.sum()

    @jax.jit
    def derivatives(x):
        whole, in_tiles = (functools.partial(call, name) for name in ("dense", "tiled"))
        first = jax.jacfwd(whole)(x), jax.grad(whole)(x), jax.grad(in_tiles)(x)
        second = [jax.hessian(whole), jax.grad(jax.grad(whole)), jax.grad(jax.jacfwd(whole)), jax.hessian(in_tiles)]
        return first, [derivative(x) for derivative in second]

    for found in derivatives(1.0):
        np.testing.assert_allclose(found, found[0], rtol=1e-10)
