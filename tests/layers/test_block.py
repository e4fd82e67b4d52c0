"""A block is two residual halves."""

import jax
import numpy as np
from flax import nnx

from jattn.layers.block import Block
from jattn.layers.flow import Flow, Record

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


class Doubling(nnx.Module):
    """A mixer that reports what it was given."""

    def __call__(self, x, flow):
        return 2 * x, flow._replace(shared=x), Record(None, {"term": x.sum()})


class Shifting(nnx.Module):
    def __call__(self, x):
        return x + 1


def test_both_halves_read_the_normalized_stream():
    block = Block(Doubling(), Shifting(), 16, rngs=nnx.Rngs(0))
    y, flow, record = block(X, Flow())
    seen = block.before_mixer(X)
    np.testing.assert_array_equal(flow.shared, seen)
    between = X + 2 * seen
    # the same float32 sums, compiled apart
    np.testing.assert_allclose(y, between + block.before_feedforward(between) + 1, rtol=1e-6, atol=1e-6)
    assert set(record.terms) == {"term"}
