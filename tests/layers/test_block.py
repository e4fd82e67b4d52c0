"""A block is two residual halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.block import Block
from jattn.layers.flow import Flow, Record

X = jax.random.normal(jax.random.key(0), (2, 5, 16))


class Doubling(nnx.Module):
    """A mixer that reports what it was given."""

    def __call__(self, x, flow):
        return 2 * x, flow._replace(shared=x), Record(None, {"term": x.sum()})

    def refresh(self, observed, rng, step):
        assert observed == {}


class Shifting(nnx.Module):
    def __call__(self, x, rng):
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


def test_a_norm_after_each_sum_or_none():
    block = Block(Doubling(), Shifting(), 16, "layer", "after", rngs=nnx.Rngs(0))
    between = block.after_mixer(3 * X)
    np.testing.assert_allclose(block(X, Flow())[0], block.after_feedforward(2 * between + 1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        Block(Doubling(), Shifting(), 16, "none", rngs=nnx.Rngs(0))(X, Flow())[0], 6 * X + 1, rtol=1e-6
    )


def test_another_place_of_a_norm_is_refused():
    with pytest.raises(ValueError, match="A norm's place must be 'before' or 'after', got 'between'"):
        Block(Doubling(), Shifting(), 16, place="between", rngs=nnx.Rngs(0))


def test_a_scaled_residual_is_plain_at_ones_and_learns_both_scales():
    block = Block(Doubling(), Shifting(), 16, residual="scaled", rngs=nnx.Rngs(0))
    plain = Block(Doubling(), Shifting(), 16, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(block(X, Flow())[0], plain(X, Flow())[0])
    block.skip[...], block.divisor[...] = 0.5, 4.0
    between = X + 2 * block.before_mixer(X)
    want = 0.5 * between + (block.before_feedforward(between) + 1) / 4
    np.testing.assert_allclose(block(X, Flow())[0], want, rtol=1e-6, atol=1e-6)


def test_without_a_second_half_the_first_is_all():
    block = Block(Doubling(), None, 16, residual="scaled", rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(block(X, Flow())[0], X + 2 * block.before_mixer(X))
    assert len(nnx.to_flat_state(nnx.state(block, nnx.Param)).paths) == 1


def test_another_residual_is_refused():
    with pytest.raises(ValueError, match="A residual must be 'plain' or 'scaled', got 'gated'"):
        Block(Doubling(), Shifting(), 16, residual="gated", rngs=nnx.Rngs(0))


def test_batch_norms_report_beside_the_mixer_and_a_missing_half_as_nothing():
    block, bare = (Block(Doubling(), half, 16, "batch", epsilon=1e-3, rngs=nnx.Rngs(0)) for half in (Shifting(), None))
    flow = Flow(rng=jax.random.key(0))
    found, less = (each(X, flow)[2].stats.observed["norms"] for each in (block, bare))
    assert set(found) == set(less) == {"before_mixer", "before_feedforward"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(less["before_feedforward"]))
    assert block.before_feedforward.epsilon == 1e-3
    between = X + 2 * block.before_mixer(X, flow.rng)
    for each, observed in ((block, found), (bare, less)):
        each.refresh({"norms": observed}, jax.random.key(0), jnp.int32(0))
        np.testing.assert_allclose(each.before_mixer.mean[...], X.mean((0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(block.before_feedforward.mean[...], between.mean((0, 1)), rtol=1e-5, atol=1e-6)
    assert block(X, Flow())[2].stats is None


class Streaming(nnx.Module):
    """A mixer of what the stream was before the norm."""

    def __call__(self, x, flow):
        return flow.stream - x, flow, Record(None, {})


def test_the_mixer_knows_the_stream_and_no_layer_behind_the_block_does():
    block = Block(Streaming(), Shifting(), 16, rngs=nnx.Rngs(0))
    y, flow, _ = block(X, Flow())
    between = 2 * X - block.before_mixer(X)
    np.testing.assert_allclose(y, between + block.before_feedforward(between) + 1, rtol=1e-6, atol=1e-6)
    assert flow.stream is None
