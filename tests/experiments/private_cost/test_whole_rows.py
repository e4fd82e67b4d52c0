"""Whole rows against the attention whose place they take, and the replacements of softmax against their definitions."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn.mechanisms.attention import Attention, attend
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.temperature import Temperature
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "private_cost"
whole_rows = listed.executed(FOLDER / "whole_rows.py")


def test_whole_rows_are_the_attention_they_hold():
    attention = Attention(score=Temperature(length=9, start=0.7), mask=Causal(), position=Rotary())
    whole = whole_rows.WholeRows(attention)
    q, k, v = (jax.random.normal(jax.random.key(n), (9, 2, 4)) for n in range(3))
    variables = attention.init(jax.random.key(3), jattn.Dims.of(q, k, v))
    held = whole.init(jax.random.key(3), jattn.Dims.of(q, k, v))
    assert jax.tree.map(jnp.shape, held.params) == {"attention": jax.tree.map(jnp.shape, variables.params)}
    ours, plain = (jax.jit(attend, static_argnums=3)(q, k, v, one, variables=own).out for one, own in
                   ((whole, held), (attention, variables)))  # fmt: skip
    # float32 sums of nine numbers of size 1, in another order
    np.testing.assert_allclose(ours, plain, rtol=2e-6, atol=2e-6)


def test_replacements_are_their_definitions():
    logits = np.array([[[-2.0, 1.0, 3.0], [0.5, -1.0, 2.0]]], np.float32)
    seen = np.array([[[True, True, False], [True, True, True]]])
    found = {name: np.asarray(weights(logits, seen))[0] for name, weights in whole_rows.WEIGHTS.items()}
    np.testing.assert_allclose(found["softmax"][0], [1 / (1 + np.e**3), 1 / (1 + np.e**-3), 0], rtol=1e-6)
    np.testing.assert_allclose(found["relu_over_sum"][1], np.array([0.5, 0, 2]) / 2.501, rtol=1e-6)
    np.testing.assert_allclose(found["quadratic"][0], np.array([9, 36, 0]) / 45, rtol=1e-6)
    np.testing.assert_allclose(found["relu_over_keys"][0], [0, 0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(found["linear"][1], np.array([0.5, -1, 2]) / 3, rtol=1e-6)


def test_weights_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="WholeRows.weights must be one of softmax, .*, got 'hard'"):
        whole_rows.WholeRows(weights="hard")
