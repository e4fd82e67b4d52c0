"""One kernel is two without an activation."""

import jax
import numpy as np
import pytest
from flax import nnx

from jattn.layers.feedforward import FeedForward
from jattn.layers.fused_feedforward import FusedFeedForward, fuse_feed_forward

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


def test_a_trained_layer_is_fused_exactly():
    layer = FeedForward(16, 24, "identity", rngs=nnx.Rngs(0))
    layer.down[...] = jax.random.normal(jax.random.key(1), (24, 16))
    # sums of 16 and 24 products in float32
    np.testing.assert_allclose(FusedFeedForward.of(layer)(X), layer(X), rtol=1e-4, atol=1e-4)


def test_a_fresh_layer_adds_nothing():
    assert not FusedFeedForward(16)(X).any()


def test_an_activation_is_refused():
    with pytest.raises(ValueError, match="nothing stands between its kernels, got 'gelu'; train it"):
        FusedFeedForward.of(FeedForward(16, 24, "gelu", rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("shape", [(20, 16), (24, 8), (24,)], ids=str)
def test_kernels_that_do_not_follow_are_refused(shape):
    with pytest.raises(ValueError, match=r"leads up from a width and the other back down to it, got shapes \(16, 24\)"):
        fuse_feed_forward(jax.numpy.ones((16, 24)), jax.numpy.ones(shape))
