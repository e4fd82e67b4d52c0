"""Tests the loss against the mean of -log p, and that layers' own terms are added to it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.layers.heads.grouped import Grouped
from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.decoder import DecoderConfig
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.training.objectives.next_token import NextToken

BOTH_WAYS = Recurrence(backward=DampedEma())
TOKENS = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])


def forward(variables, tokens, rng):
    logits = jax.random.normal(jax.random.key(0), (*tokens.shape, 11))
    return logits, Record(None, variables), None


def test_mean_cost_of_the_next_token_and_the_layers_terms():
    loss, terms = NextToken()(forward, {}, {"tokens": TOKENS}, None)
    p = jax.nn.softmax(forward({}, TOKENS[:, :-1], None)[0])
    literal = [-np.log(p[b, t, TOKENS[b, t + 1]]) for b in range(2) for t in range(3)]
    np.testing.assert_allclose(loss, np.mean(literal), rtol=1e-6)
    more, same = NextToken()(forward, {"router": jnp.float32(0.5)}, {"tokens": TOKENS}, None)
    np.testing.assert_allclose(more, loss + 0.5, rtol=1e-6)
    assert same["cross_entropy"] == terms["cross_entropy"]


@pytest.mark.parametrize("heads", [Mega(8, recurrence=BOTH_WAYS), Smoothed(Grouped(), BOTH_WAYS)])
def test_heads_that_hear_later_tokens_are_refused(heads):
    model = DecoderConfig(width=16, depth=1, heads=1, projection=heads)
    told = r"DecoderConfig.projection with rows that see later ones; use --model.projection.recurrence.backward none"
    with pytest.raises(ValueError, match=told):
        NextToken().check(model, 32)
    causal = dataclasses.replace(heads, recurrence=dataclasses.replace(BOTH_WAYS, backward=None))
    NextToken().check(dataclasses.replace(model, projection=causal), 32)
