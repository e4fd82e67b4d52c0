"""Tests the loss against the mean of -log p, and that layers' own terms are added to it."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.layers.flow import Record
from jattn.training.objectives.next_token import NextToken

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
