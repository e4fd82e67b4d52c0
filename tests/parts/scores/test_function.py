"""Plain functions as scores: what FlexAttention's mean, with gradients in what they close over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Dims
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.function import Function
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import assert_close, float64, small_tiles  # noqa: F401


@pytest.fixture(autouse=True)
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


def numbers(*batch):
    return [
        jax.random.normal(jax.random.key(n), (*batch, 53, h, w)) for n, (h, w) in enumerate([(4, 8), (2, 8), (2, 5)])
    ]


def by_hand(q, k, v, bias):
    k, v = (jnp.repeat(x, 2, axis=-2) for x in (k, v))
    logits = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(8)
    return jnp.einsum("bhts,bshe->bthe", jax.nn.softmax(bias(logits)), v)


def test_it_sees_batch_head_query_and_key_and_gradients_flow_to_what_it_closes_over():
    q, k, v = numbers(3)
    slopes, table, names = jnp.arange(1.0, 5) / 9, jnp.linspace(-1, 1, 3), jnp.arange(53) // 7

    def plain(slopes, table, names):
        def score(logit, batch, head, query, key):
            near = jnp.where(names[query] == names[key], 1.0, 0.5)
            return logit * near - slopes[head] * jnp.abs(query - key) + table[batch] * jnp.cos(1.0 * key)

        return attend(q, k, v, Attention(score=score)).out

    def dense(slopes, table, names):
        def bias(logits):
            n = np.arange(53)
            near = jnp.where(names[:, None] == names[None], 1.0, 0.5)
            far = slopes[:, None, None] * np.abs(n[:, None] - n[None])[None]
            return logits * near[None, None] - far[None] + table[:, None, None, None] * jnp.cos(n)[None, None, None]

        return by_hand(q, k, v, bias)

    def graded(function):
        def loss(slopes, table):
            out = function(slopes, table, names)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(slopes, table)

    assert_close(graded(dense), graded(plain), 1e-12)


def test_positions_are_those_of_the_layout_and_other_scores_may_follow():
    q, k, v = (x[None] for x in numbers())
    positions = jnp.arange(53) % 20

    def score(logit, batch, head, query, key):
        return logit + jnp.where(query == key, 2.0, 0.0)

    attention = Attention(score=(score, T5Bias()), mask=Causal())
    variables = attention.init(jax.random.key(0), Dims.of(q, k, v))
    got = attend(q, k, v, attention, variables=variables, layout=Layout(positions=positions))
    same = (positions[:, None] == positions[None])[None]
    plain = Attention(score=T5Bias(), mask=Causal())
    want = attend(
        q, k, v, plain, layout=Layout(positions=positions, bias=2.0 * same),
        variables=variables._replace(params={"score": {"0": variables.params["score"]["1"]}}),
    )  # fmt: skip
    assert_close(want.out, got.out, 1e-12)


def test_a_second_call_compiles_nothing_anew():
    q, k, v = numbers()

    def score(logit, batch, head, query, key):
        return logit * table[head]

    attention = Attention(score=score)
    table = jnp.ones(4)
    before = attend(q, k, v, attention).out
    compiled = tiled._compiled._cache_size()
    table = jnp.zeros(4)
    after = attend(q, k, v, attention).out
    assert tiled._compiled._cache_size() == compiled
    assert_close(attend(q, k, v).out, before, 1e-12)
    assert_close(attend(0 * q, k, v).out, after, 1e-12)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda logit, batch, head, query, key: jnp.stack([logit, logit]), r"got float\d\d of shape \(2,\)"),
        (lambda logit, batch, head, query, key: key <= query, "return a number"),
        (lambda logit, batch, head, query, key: (logit, logit), "one logit for one pair"),
    ],
)
def test_what_is_no_logit_is_refused_by_name(function, words):
    with pytest.raises(TypeError, match=f"(?s)A score function gives.*{words}.*"):
        attend(*numbers(), Attention(score=function))


def test_a_function_is_a_part_as_it_is():
    attention = Attention(score=np.minimum)
    assert attention == Attention(score=Function(np.minimum)) and hash(attention) == hash(Attention(score=np.minimum))
    assert attention.score == (Function(np.minimum),)
