"""The penalty on weights of pools: its value, its gradient in the logits, and what changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.part import Side, Variables
from jattn.parts.pools import pooled
from jattn.training.objectives.next_token import NextToken
from jattn.training.objectives.penalized import Penalized
from jattn.training.penalties.attention_entropy_maximization import AttentionEntropyMaximization
from tests.support import float64  # noqa: F401

LOGITS = 3 * np.random.default_rng(0).normal(size=(2, 9))


def bag(logits, valid=None):
    """Two branches over a bag of nine instances."""
    here = np.arange(9)
    return pooled(jnp.zeros((9, 3)), logits, Side(None, here, here, None, valid, 9, {}), None)


def penalty(logits, weight=1.0):
    return AttentionEntropyMaximization(weight)({}, bag(logits).stats)


def test_the_penalty_is_minus_the_entropy_and_the_mean_over_branches(float64):  # noqa: F811
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    want = 0.3 * (weights * np.log(weights)).sum(-1).mean()
    np.testing.assert_allclose(penalty(LOGITS, 0.3), want, rtol=1e-12)
    assert want < 0


def test_its_gradient_in_the_logits_is_that_of_the_closed_form(float64):  # noqa: F811
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    entropy = -(weights * np.log(weights)).sum(-1, keepdims=True)
    # of each of the two branches half
    want = weights * (np.log(weights) + entropy) / 2
    np.testing.assert_allclose(jax.grad(penalty)(jnp.asarray(LOGITS)), want, rtol=1e-11, atol=1e-15)


def test_a_constant_on_all_logits_changes_nothing(float64):  # noqa: F811
    one, other = (jax.value_and_grad(penalty)(jnp.asarray(LOGITS) + shift) for shift in (0, 50.0))
    # adding 50 rounds the logits by some 1e-14
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    np.testing.assert_allclose(one[1], other[1], atol=1e-13)


def test_a_bag_of_nothing_counts_nothing():
    full, empty = (bag(LOGITS, jnp.full(9, n)).stats for n in (True, False))
    both = jax.tree.map(lambda *x: jnp.stack(x), full, empty)
    penalty = AttentionEntropyMaximization()
    np.testing.assert_allclose(penalty({}, both), penalty({}, full) / 2, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_a_weight_of_0_is_the_baseline_bit_by_bit(weight):
    def forward(variables, tokens, rng):
        found = bag(variables.params["logits"])
        # a table of each pair of words, moved by what is weighed
        return variables.params["table"][tokens] + found.weights[:1, None, :5], Record(found.stats, {}), None

    params = {"logits": jnp.asarray(LOGITS, jnp.float32), "table": jnp.asarray(np.eye(5), jnp.float32)}
    tokens = {"tokens": jnp.asarray([[0, 3, 1, 4, 2]])}

    def found(objective):
        return jax.jit(jax.value_and_grad(lambda p: objective(forward, Variables(p, {}), tokens, None)[0]))(params)

    plain = found(NextToken())
    some = found(Penalized(penalty=AttentionEntropyMaximization(weight)))
    bits = [np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(each)]).tobytes() for each in (plain, some)]
    assert (bits[0] == bits[1]) == (weight == 0)


def test_a_weight_below_0_is_refused():
    with pytest.raises(ValueError, match="AttentionEntropyMaximization.weight must lie between 0"):
        AttentionEntropyMaximization(weight=-0.1)


def test_attention_without_weights_is_refused():
    with pytest.raises(ValueError, match="needs attention that has weights"):
        AttentionEntropyMaximization()({}, bag(LOGITS).stats._replace(entropy=None))
