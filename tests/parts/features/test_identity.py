"""Products of queries and keys, with retention's decay against the paper's parallel form."""

import jax.numpy as jnp
import numpy as np

import jattn
from jattn.decays import Retention
from jattn.features import Identity

TOKENS, HEADS, WIDTH = 19, 2, 4
QUERY, KEY, VALUE = jnp.asarray(np.random.default_rng(0).normal(size=(3, TOKENS, HEADS, WIDTH)), jnp.float32)


def test_with_retentions_decay_it_is_the_papers_parallel_form():
    found = jattn.attend(QUERY, KEY, VALUE, jattn.LinearAttention(feature=Identity(), decay=Retention())).out
    distance = np.arange(TOKENS)[:, None] - np.arange(TOKENS)
    for head, gamma in enumerate((31 / 32, 63 / 64)):
        kept = np.where(distance >= 0, gamma ** np.maximum(distance, 0.0), 0)
        weights = kept * (np.asarray(QUERY[:, head], np.float64) @ KEY[:, head].T) / 2
        # float32 sums of some twenty products of order 1
        np.testing.assert_allclose(found[:, head], weights @ VALUE[:, head], atol=1e-5)
