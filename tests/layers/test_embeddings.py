"""Tables of tokens and of logits."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattn.layers.embeddings import Embedding, Head


def test_a_token_reads_its_row():
    layer, tokens = Embedding(7, 4, rngs=nnx.Rngs(0)), jnp.array([[3, 0], [6, 3]])
    np.testing.assert_array_equal(layer(tokens, jnp.float32), np.asarray(layer.table[...])[np.asarray(tokens)])
    assert layer(tokens, jnp.bfloat16).dtype == jnp.bfloat16


def test_a_fresh_head_is_uniform_and_float32():
    logits = Head(4, 7)(jnp.ones((2, 3, 4), jnp.bfloat16))
    assert logits.dtype == jnp.float32 and logits.shape == (2, 3, 7) and not logits.any()
    np.testing.assert_allclose(-jax.nn.log_softmax(logits), np.log(7), rtol=1e-6)


def test_fresh_vectors_are_noise_of_the_deviation_asked_for():
    for options, deviation in (((), 0.02), ((0.5,), 0.5)):
        # 64,000 draws
        table = Embedding(1000, 64, *options, rngs=nnx.Rngs(0)).table[...]
        assert abs(float(table.std()) / deviation - 1) < 0.02
