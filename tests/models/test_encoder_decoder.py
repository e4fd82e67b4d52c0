"""The encoder-decoder: padding of either side, causality, and the way across against attention written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer
from jattn.layers.flow import Flow, Record
from jattn.mechanisms import Layout
from jattn.models import encoder_decoder
from jattn.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, Sequences
from jattn.part import Stats

SOURCE = jax.random.randint(jax.random.key(0), (2, 7), 0, 11)
TARGET = jax.random.randint(jax.random.key(1), (2, 5), 0, 11)


@functools.cache
def made(positions="sin_cos"):
    config = EncoderDecoderConfig(width=8, depth=2, heads=2, vocabulary=11, positions=positions, length=9)
    shapes = nnx.eval_shape(lambda: EncoderDecoder(config, rngs=nnx.Rngs(0)))
    graphdef, params, buffers = nnx.split(shapes, nnx.Param, Buffer)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 3, leaf.dtype), params)
    return graphdef, params, buffers


@functools.partial(jax.jit, static_argnums=0)
def run(graphdef, params, buffers, source, target, layout=None):
    return nnx.merge(graphdef, params, buffers)(Sequences(source, target), layout=layout)


def assert_close(want, got):
    """Float32 through four blocks, ordered differently: some tens of units in the last place."""
    np.testing.assert_allclose(want, got, rtol=3e-5, atol=64 * np.finfo(np.float32).eps * max(1, np.abs(want).max()))


def test_padding_of_both_sides_changes_nothing():
    weights, want = made(), run(*made(), SOURCE, TARGET)
    longer = (jnp.pad(each, ((0, 0), (0, 2)), constant_values=3) for each in (SOURCE, TARGET))
    got = run(*weights, *longer, Layout(valid=(jnp.array([5, 5]), jnp.array([7, 7]))))
    assert_close(want.logits, got.logits[:, :5])
    # two layers of the source, two of the target's own, two across
    assert want.record.stats.entropy.shape == (6, 2, 7, 2)
    assert_close(want.record.stats.entropy, got.record.stats.entropy[:, :, :7])
    np.testing.assert_array_equal(want.record.stats.visible[:, 0, :, 0].max(1), [7, 7, 5, 5, 7, 7])
    assert not want.record.stats.visible[2:, :, 5:].any()


def test_the_target_sees_all_of_the_source_and_its_own_past():
    weights, want = made(), run(*made(), SOURCE, TARGET).logits
    later = run(*weights, SOURCE, TARGET.at[:, 3].add(1) % 11).logits
    np.testing.assert_array_equal(want[:, :3], later[:, :3])
    assert (abs(want[:, 3:] - later[:, 3:]).max(-1) > 1e-5).all()
    read = run(*weights, SOURCE.at[:, -1].add(1) % 11, TARGET).logits
    assert (abs(want - read).max(-1) > 1e-6).all()


def test_the_way_across_is_attention_to_the_memory():
    graphdef, params, buffers = made()
    model = nnx.merge(graphdef, params, buffers)
    found = run(graphdef, params, buffers, SOURCE, TARGET)
    graph, stacked = nnx.split(model.target_stack.repeat[1])
    block = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[0], stacked))
    x = jax.random.normal(jax.random.key(2), (5, 8))
    y, _, record = block.mixer(x[None], Flow(memory=found.memory[:1]))
    maps = {name: np.asarray(leaf[...]) for name, leaf in block.mixer.projecting.items()}
    heads = []
    for n, head in enumerate((slice(0, 4), slice(4, 8))):
        logits = (x @ maps["query"][:, head]) @ (found.memory[0] @ maps["key"][:, head]).T / 2
        weights = jax.nn.softmax(logits)
        heads.append(weights @ (found.memory[0] @ maps["value"][:, head]))
        assert_close(-(weights * jnp.log(weights)).sum(1), record.stats.entropy[0, :, n])
    assert_close(jnp.concatenate(heads, 1) @ maps["output"], y[0])


def test_every_gradient_is_real():
    graphdef, params, buffers = made("learned")

    @jax.jit
    def graded(params):
        return jax.grad(lambda params: (run(graphdef, params, buffers, SOURCE, TARGET).logits ** 2).mean())(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(graded(params)):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="EncoderDecoderConfig.pruned must be 0, got 1"):
        EncoderDecoderConfig(pruned=1)
    with pytest.raises(ValueError, match="positions must be one of none, learned, sin_cos"):
        EncoderDecoderConfig(positions="x")
    with pytest.raises(TypeError, match=r"reads Sequences\(source, target\), got .* --objective target_given_source"):
        nnx.merge(*made())(TARGET)


def test_sides_that_observe_different_things_are_refused():
    stats = Stats(*(jnp.zeros((2, 1, 3, 2)) for _ in range(4)), observed={})
    seen = stats._replace(observed={"load": jnp.zeros((2, 4))})
    with pytest.raises(ValueError, match=r"must observe the same, got .observed\['load'\] of some alone"):
        encoder_decoder._both(Record(stats, {}), Record(seen, {}))
    both = encoder_decoder._both(Record(seen, {}), Record(seen._replace(entropy=None), {})).stats
    assert both.observed["load"].shape == (4, 4) and both.visible.shape == (4, 1, 3, 2) and both.entropy is None
