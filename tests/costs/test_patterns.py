"""Softmaxes, norms and activations in several hands, and what only looks like them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jattn
from jattn.costs.count import cost

MASK = np.tri(4)[None] > 0


def found(function, *sizes):
    """What is found outside of patterns: kind to shapes, with how many of each."""
    made = cost(function, *(jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes))
    return {kind: dict(made.shapes(kind)) for kind in made.kinds()}


def by_sum(x):
    made = jnp.exp(x)
    return made / made.sum(-1, keepdims=True)


def by_reciprocal(x):
    made = jnp.exp(x - x.max(-1, keepdims=True))
    return made * (1 / made.sum(-1, keepdims=True))


def by_logarithm(x):
    return jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True))


def with_guards(x):
    # an empty row is a row of zeros
    seen = jnp.where(MASK, x, -jnp.inf)
    top = seen.max(-1, keepdims=True)
    made = jnp.exp(seen - jnp.where(jnp.isfinite(top), top, 0))
    mass = made.sum(-1, keepdims=True)
    return jnp.where(mass > 0, made / jnp.where(mass > 0, mass, 1), 0)


@pytest.mark.parametrize(
    "function",
    [
        by_sum, by_reciprocal, by_logarithm, jax.nn.softmax, lambda x: jnp.exp(jax.nn.log_softmax(x)),
        lambda x: jax.nn.softmax(x, where=MASK), jax.jit(jax.vmap(jax.nn.softmax)),
        lambda x: jax.nn.softmax(x.astype(jnp.bfloat16).astype(jnp.float32)),
    ],
)  # fmt: skip
def test_a_softmax_is_found_however_it_is_written(function):
    # two heads of four rows of four
    assert found(function, (2, 4, 4)) == {"softmax": {(4, 4): 2}}


def test_guards_of_empty_rows_hide_no_softmax():
    made = found(with_guards, (2, 4, 4))
    assert made.pop("softmax") == {(4, 4): 2}
    # what comes after it: the last choice between row and zeros
    assert made == {"select": {(4, 4): 2}}


def test_rows_may_lie_anywhere():
    assert found(lambda x: jax.nn.softmax(x, axis=0), (5, 3)) == {"softmax": {(3, 5): 1}}
    assert found(lambda x: jax.nn.softmax(x, axis=(0, 1)), (5, 3)) == {"softmax": {(15,): 1}}


def wrong_axis(x):
    made = jnp.exp(x)
    return made / made.sum(0)[:, None]


def other_sum(x):
    return jnp.exp(x) / jnp.exp(2 * x).sum(-1, keepdims=True)


def other_logarithm(x):
    return jnp.exp(x - jnp.log(jnp.exp(2 * x).sum(-1, keepdims=True)))


def without_its_shift(x):
    # exp(x) over the sum of exp(x - max) sums to exp(max)
    return jnp.exp(x) / jnp.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)


def sum_of_others(x):
    return jax.nn.relu(x) / jax.nn.relu(x).sum(-1, keepdims=True)


@pytest.mark.parametrize("function", [wrong_axis, other_sum, other_logarithm, without_its_shift, sum_of_others])
def test_what_is_no_softmax_is_not_taken_for_one(function):
    assert "softmax" not in found(function, (4, 4))


def test_the_parts_of_a_softmax_are_told_too():
    made = cost(jax.nn.softmax, jax.ShapeDtypeStruct((3, 8), jnp.float32))
    inside = {op.kind: (op.shape, count) for op, count in made.calls if op.within == "softmax"}
    assert inside == {"row_max": ((3, 8), 1), "exp": ((3, 8), 1), "division": ((3, 8), 1)}
    assert made.total("exp") == 24 and made.total("row_max") == 24


def test_dense_attention_is_two_products_and_a_softmax():
    attention = jattn.Attention(mask=jattn.masks.Causal(), scale=1.0, implementation="dense")
    made = found(lambda q, k, v: jattn.attend(q, k, v, attention).out, (5, 2, 3), (5, 2, 3), (5, 2, 3))
    assert made == {"softmax": {(5, 5): 2}, "product": {(5, 3, 5): 2, (5, 5, 3): 2}}


def layer_norm(x):
    centered = x - x.mean(-1, keepdims=True)
    return centered * lax.rsqrt((centered**2).mean(-1, keepdims=True) + 1e-5)


def by_root(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def rms_norm(x):
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)


# centers at 0 before it divides
of_flax = nnx.RMSNorm(8, use_scale=False, use_fast_variance=False, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "function, kind",
    [(layer_norm, "layer_norm"), (by_root, "layer_norm"), (rms_norm, "rms_norm"), (of_flax, "rms_norm")],
    ids=["layer", "by root", "rms", "of Flax"],
)
def test_norms_are_found(function, kind):
    assert found(function, (2, 3, 8)) == {kind: {(3, 8): 2}}


def test_gains_are_a_product_beside_a_norm():
    made = found(lambda x, gain: x * (lax.rsqrt((x * x).mean(-1, keepdims=True)) * gain), (3, 8), (1, 8))
    assert made == {"rms_norm": {(3, 8): 1}, "multiplication": {(3, 8): 1}}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * lax.rsqrt((x * x).mean(0))[:, None],
        lambda x: jnp.flip(x, 0) * lax.rsqrt((x * x).mean(-1, keepdims=True)),
        lambda x: x * lax.rsqrt(jnp.abs(x).mean(-1, keepdims=True)),
    ],
)
def test_what_is_no_norm_is_not_taken_for_one(function):
    assert not {"layer_norm", "rms_norm"} & found(function, (4, 4)).keys()


@pytest.mark.parametrize(
    "function, kind",
    [
        (jax.nn.gelu, "gelu"), (lambda x: jax.nn.gelu(x, approximate=False), "gelu"), (jax.nn.silu, "silu"),
        (lambda x: x / 2 * (1 + jnp.tanh(0.7978846 * x * (1 + 0.044715 * x * x))), "gelu"), (jax.nn.relu, "relu"),
    ],
)  # fmt: skip
def test_activations_are_told_by_their_values(function, kind):
    assert found(function, (3, 4)) == {kind: {(3, 4): 1}}


def test_another_constant_is_another_activation():
    made = found(lambda x: x / 2 * (1 + jnp.tanh(0.8 * x * (1 + 0.05 * x * x))), (3, 4))
    assert "gelu" not in made and made["tanh"] == {(3, 4): 1}
