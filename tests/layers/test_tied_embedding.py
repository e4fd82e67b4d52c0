"""One table for tokens and logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.tied_embedding import TiedEmbedding

TOKENS = jnp.array([[3, 0], [6, 3]])


@pytest.mark.parametrize("scale, times", [(None, 2.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_token_is_its_row_times_the_scale(scale, times):
    layer = TiedEmbedding(7, 4, scale, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(TOKENS, jnp.float32), times * np.asarray(layer.table[...])[np.asarray(TOKENS)])
    assert layer(TOKENS, jnp.bfloat16).dtype == jnp.bfloat16


def test_a_logit_is_the_product_with_the_row_unscaled():
    layer, x = TiedEmbedding(7, 4, rngs=nnx.Rngs(0)), jax.random.normal(jax.random.key(0), (2, 3, 4))
    np.testing.assert_allclose(layer.logits(x), np.asarray(x, np.float64) @ np.asarray(layer.table[...]).T, atol=1e-6)
    assert layer.logits(x.astype(jnp.bfloat16)).dtype == jnp.float32


def test_the_table_hears_of_both():
    graphdef, state = nnx.split(TiedEmbedding(7, 4, rngs=nnx.Rngs(0)))

    def loss(state):
        layer = nnx.merge(graphdef, state)
        # token 3 is looked up; of the logits only that of 5 counts
        return layer(jnp.array([3]), jnp.float32).sum() + layer.logits(jnp.ones((1, 4)))[0, 5]

    slope = jax.grad(loss)(state)["table"][...]
    want = np.zeros((7, 4))
    want[3], want[5] = 2, 1
    np.testing.assert_array_equal(slope, want)


def test_fresh_rows_have_length_one_on_average():
    table = TiedEmbedding(2000, 64, rngs=nnx.Rngs(0)).table[...]
    # 128,000 draws
    assert abs(float((table**2).sum(-1).mean()) - 1) < 0.02


def test_what_is_no_token_is_refused():
    with pytest.raises(TypeError, match="reads whole numbers, got float32"):
        TiedEmbedding(7, 4, rngs=nnx.Rngs(0))(jnp.ones((1, 2)), jnp.float32)
