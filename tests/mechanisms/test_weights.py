"""Weights of some rows beside those of all, and beside the output that they make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.weights import attention_weights
from jattn.part import Dims
from jattn.parts.decays.gated import Gated
from jattn.parts.decays.retention import Retention
from jattn.parts.features.elu import Elu
from jattn.parts.features.favor import Favor
from jattn.parts.features.swish import Swish
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.entmax import Entmax
from jattn.parts.normalizers.null_slot import NullSlot
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.normalizers.top_k import TopK
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import float64  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def qkv(*batch, tokens=9):
    return draw(*batch, tokens, 4, 8), draw(*batch, 9, 2, 8, seed=1), draw(*batch, 9, 2, 5, seed=2)


@pytest.mark.parametrize(
    "attention",
    [
        Attention(mask=Causal()),
        Attention(score=T5Bias(), mask=Causal() & Window(3), position=Rotary(), dropout=0.5),
        Attention(normalizer=NullSlot()),
        Attention(normalizer=SquaredRelu(), mask=Causal()),
        Attention(normalizer=Entmax()),
        Attention(normalizer=TopK(3), mask=Causal()),
        Attention(score=Forgetting(), mask=Causal()),
    ],
    ids=lambda a: " ".join(type(p).__name__ for p in (*a.score, a.mask, a.normalizer)),
)
def test_weights_make_the_output_and_some_rows_are_rows_of_all(attention):
    q, k, v = qkv()
    variables = attention.init(jax.random.key(3), Dims.of(q, k, v, model_width=6))
    own = attention.own(variables)
    layout = Layout(extra=attention.project(own, draw(9, 6, seed=4)), segments=jnp.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    layout = layout._replace(valid=jnp.arange(9) != 8, bias=draw(4, 9, 9, seed=5), mask=jnp.arange(9)[None, None] != 2)
    chosen = slice(2, 7, 2), np.array([-1, 4, 4]), [3], 3, np.arange(9) > 5

    @jax.jit
    def found(q, k, v):
        weights, *some = (
            attention_weights(q, k, attention, variables=variables, layout=layout, rows=rows)
            for rows in (None, *chosen)
        )
        return weights, some, attend(q, k, v, attention, variables=variables, layout=layout).out

    weights, some, out = found(q, k, v)
    made = jnp.einsum("hts,she->the", weights, jnp.repeat(v, 2, 1))
    if isinstance(attention.normalizer, NullSlot):
        # what is missing from 1 goes to the null slot, whose value the sum lacks
        made += (1 - weights.sum(-1)).T[..., None] * own["normalizer"]["value"][None]
        made = jnp.where((weights.sum(-1) > 0).T[..., None], made, 0)
    np.testing.assert_allclose(made, out, atol=1e-12)
    assert weights.shape == (4, 9, 9) and not weights[:, 8].any()
    for rows, of_rows in zip(chosen, some, strict=True):
        want = np.asarray(weights)[:, np.atleast_1d(np.arange(9)[rows])]
        np.testing.assert_allclose(of_rows, want, atol=1e-14)


LINEAR = [
    LinearAttention(Elu(), Gated(rank=2)),
    LinearAttention(Swish(), Retention(), position=Rotary()),
    LinearAttention(Favor(kernel="hyperbolic", floor=0.1)),
    LinearAttention(order="full"),
]


@pytest.mark.parametrize("attention", LINEAR, ids=lambda a: " ".join(type(p).__name__ for p in (a.feature, a.decay)))
def test_weights_of_linear_attention_make_its_output(attention):
    q, k, v = qkv()
    variables = attention.init(jax.random.key(3), Dims.of(q, k, v, model_width=6))
    layout = Layout(extra=attention.project(attention.own(variables), draw(9, 6, seed=4)), valid=jnp.arange(9) != 8)
    if attention.order == "causal":
        layout = layout._replace(segments=jnp.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))

    @jax.jit
    def found(q, k, v):
        weights = attention_weights(q, k, attention, variables=variables, layout=layout)
        some = attention_weights(q, k, attention, variables=variables, layout=layout, rows=[-2, 3])
        return weights, some, attend(q, k, v, attention, variables=variables, layout=layout).out

    weights, some, out = found(q, k, v)
    np.testing.assert_allclose(jnp.einsum("hts,she->the", weights, jnp.repeat(v, 2, 1)), out, atol=1e-12)
    np.testing.assert_allclose(some, weights[:, np.array([7, 3])], atol=1e-14)
    assert weights[:, 3, :4].all() and not weights[:, 8].any()


def test_any_leading_axes_and_data_for_each_example():
    q, k, _ = qkv(2, 3, tokens=7)
    mask = np.random.default_rng(0).random((2, 3, 1, 7, 9)) < 0.7
    found = jax.jit(lambda q, k: attention_weights(q, k, layout=Layout(mask=jnp.asarray(mask)), rows=slice(4)))(q, k)
    logits = jnp.einsum("abthd,abshd->abhts", q[:, :, :4], jnp.repeat(k, 2, -2)) / np.sqrt(8)
    want = jax.nn.softmax(jnp.where(mask[..., :4, :], logits, -jnp.inf))
    np.testing.assert_allclose(found, jnp.where(mask[..., :4, :], want, 0), atol=1e-12)


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        attention_weights(*qkv()[:2], rows=[9])


def test_weights_of_what_has_none_are_refused():
    with pytest.raises(TypeError, match="those of an Attention or another mechanism, got Causal"):
        attention_weights(*qkv()[:2], Causal())


def test_weights_over_an_axis_of_a_mesh_are_refused():
    x = jnp.ones((3, 2, 4))
    with pytest.raises(ValueError, match="Weights are looked at .*context_axis='c'; leave it out"):
        attention_weights(x, x, Attention(context_axis="c"))


@pytest.mark.parametrize("rows", [1.5, "a", np.zeros((2, 2), int), (1, 2)], ids=str)
def test_what_are_no_rows_is_refused(rows):
    q = jax.random.normal(jax.random.key(0), (5, 2, 4))
    with pytest.raises(TypeError, match="Rows are a slice, whole numbers or booleans, known when traced"):
        attention_weights(q, q, rows=rows)
