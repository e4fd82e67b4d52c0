"""Forgetting attention against the sums its paper writes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.forgetting import Forgetting, forgotten, log_gates
from tests.support import compiled_attend as attend


def test_gates_of_zero_weights_are_their_bias():
    gates = log_gates(jnp.ones((3, 4)), jnp.zeros((4, 2)), jnp.array([0.0, np.log(3.0)]))
    np.testing.assert_allclose(jnp.exp(gates), [[0.5, 0.75]] * 3, rtol=1e-6)


def test_forgotten_is_the_sum_of_gates_after_the_key():
    gates = np.log(np.array([0.9, 0.5, 0.8, 0.25]))
    sums = jnp.asarray(np.cumsum(gates))[None], jnp.zeros((1, 4))
    found = forgotten(sums, sums)[0]
    for query in range(4):
        for key in range(query + 1):
            np.testing.assert_allclose(found[query, key], gates[key + 1 : query + 1].sum(), rtol=1e-5, atol=1e-7)


def weights_by_hand(q, k, gates):
    logits = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
    for h, t, s in np.ndindex(logits.shape):
        logits[h, t, s] = logits[h, t, s] + gates[s + 1 : t + 1, h].sum() if s <= t else -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_attention_equals_the_equation_written_out():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(9, 2, 4)) for _ in range(3))
    x = rng.normal(size=(9, 3))
    attention = Attention(score=Forgetting(), mask=Causal())
    with jax.enable_x64(True):
        params = attention.init(jax.random.key(0), Dims(2, 2, 2, 4, 4, model_width=3)).params
        params["score"]["0"]["kernel"] = jnp.asarray(rng.normal(size=(3, 2)))
        variables = Variables(params, {})
        extra = attention.project(attention.own(variables), jnp.asarray(x))
        found = attend(*map(jnp.asarray, (q, k, v)), attention, variables=variables, layout=Layout(extra=extra))
    gates = np.asarray(extra["score"]["0"]["log_gate"])
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights_by_hand(q, k, gates), v), rtol=1e-12)


def test_open_gates_forget_nothing():
    rng = np.random.default_rng(1)
    q, k, v = (jnp.asarray(rng.normal(size=(6, 1, 4)), jnp.float32) for _ in range(3))
    extra = {"score": {"0": {"log_gate": jnp.zeros((6, 1))}}}
    forgetting = attend(q, k, v, Attention(score=Forgetting(), mask=Causal()), layout=Layout(extra=extra))
    np.testing.assert_allclose(forgetting.out, attend(q, k, v, Attention(mask=Causal())).out, rtol=1e-6)


def test_biases_start_from_short_to_long_memory():
    bias = Forgetting().params(jax.random.key(0), Dims(3, 3, 3, 4, 4, model_width=2))["bias"]
    np.testing.assert_allclose(1 / (1 - jax.nn.sigmoid(bias)), [2, 16, 128], rtol=1e-4)


def test_memory_spans_out_of_range_are_refused():
    with pytest.raises(ValueError, match="1 < shortest <= longest.*got 0.5"):
        Forgetting(shortest=0.5)
