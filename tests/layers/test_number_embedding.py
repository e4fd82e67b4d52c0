"""Real numbers as points on a line."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.number_embedding import NumberEmbedding


def test_a_number_is_a_point_on_a_line():
    layer, x = NumberEmbedding(6, rngs=nnx.Rngs(0)), jnp.array([[0.0, 2.0, -1.5]])
    direction, point = np.asarray(layer.direction[...]), np.asarray(layer.point[...])
    np.testing.assert_allclose(layer(x, jnp.float32), np.asarray(x)[..., None] * direction + point, rtol=1e-6)
    assert layer(x, jnp.bfloat16).dtype == jnp.bfloat16 and layer(x, jnp.bfloat16).shape == (1, 3, 6)


def test_fresh_arrays():
    layer = NumberEmbedding(50_000, rngs=nnx.Rngs(0))
    assert abs(float(layer.direction[...].std()) - 1) < 0.02 and abs(float(layer.point[...].std()) / 0.1 - 1) < 0.02


def test_tokens_are_refused():
    with pytest.raises(TypeError, match=r"reads real numbers, got int32 of shape \(1, 3\)"):
        NumberEmbedding(6, rngs=nnx.Rngs(0))(jnp.ones((1, 3), jnp.int32), jnp.float32)
