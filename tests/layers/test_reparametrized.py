"""Which maps of a model are converted, what they compute, and that evaluation changes nothing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer, arrays
from jattn.layers.kernels import kernels
from jattn.layers.reparametrizations.plain import Plain
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.layers.reparametrizations.spectral_norm import SpectralNorm
from jattn.layers.reparametrizations.weight_norm import WeightNorm
from jattn.layers.reparametrized import Reparametrized
from jattn.models.decoder import Decoder, DecoderConfig

TOKENS = jnp.arange(14).reshape(2, 7)
SMALL = DecoderConfig(width=16, depth=2, vocabulary=32, norm="none", reparametrization=SigmaReparam())


class Convolving(nnx.Module):
    """Layers of Flax's own, an embedding among them."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(11, 6, rngs=rngs)
        self.conv = nnx.Conv(6, 8, (3,), rngs=rngs)
        self.dense = nnx.Linear(8, 5, rngs=rngs)
        self.norm = nnx.LayerNorm(5, rngs=rngs)

    def __call__(self, tokens):
        return self.norm(self.dense(self.conv(self.embed(tokens))))


def norms(model):
    """The spectral norm of every kernel, one for each layer."""
    found = {"/".join(map(str, path)): np.asarray(each.variable[...]) for path, each in kernels(model).items()}
    lead = {name: len(w) if "repeat" in name else 1 for name, w in found.items()}
    return {name: np.linalg.norm(w.reshape(lead[name], -1, w.shape[-1]), 2, (1, 2)) for name, w in found.items()}


def gains(beside):
    return [np.size(leaf) for leaf in jax.tree.leaves(arrays(beside).params)]


def test_every_map_of_a_decoder_but_its_embedding_has_a_gain():
    model = Decoder(SMALL, rngs=nnx.Rngs(0))
    assert sum(gains(model.kernels.beside)) == 6 * SMALL.depth + 1
    for found in norms(model.folded()).values():
        np.testing.assert_allclose(found, 1, rtol=1e-5)
    assert not any("inner" in path for path in nnx.to_flat_state(nnx.state(model)).paths)


def test_layers_of_flax_convolutions_too():
    model = Convolving(nnx.Rngs(0))
    before = model(TOKENS % 11)
    beside = Reparametrized(model, SigmaReparam(gain="norm"), rngs=nnx.Rngs(1))
    assert {path[0] for path in kernels(model)} == {"conv", "dense"} and sum(gains(beside.beside)) == 2
    # the gain is the norm: the layer is what it was
    chex.assert_trees_all_close(beside.applied(model)(TOKENS % 11), before, rtol=1e-5, atol=1e-5)
    one = Reparametrized(model, SigmaReparam(), rngs=nnx.Rngs(1)).applied(model)
    np.testing.assert_allclose(np.concatenate(list(norms(one).values())), 1, rtol=1e-5)


def test_many_heads_are_one_map():
    model = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
    made = Reparametrized(model, SigmaReparam(), rngs=nnx.Rngs(1)).applied(model)
    # (features, heads, width) to queries, keys and values, (heads, width, features) out of them
    for name, sizes in (("query", (8, 8)), ("key", (8, 8)), ("value", (8, 8)), ("out", (8, 8))):
        kernel = getattr(made, name).kernel[...]
        assert kernel.ndim == 3
        np.testing.assert_allclose(np.linalg.norm(kernel.reshape(sizes), 2), 1, rtol=1e-5)


@pytest.mark.parametrize(("joint", "count"), [("none", 13), ("qk", 11), ("qkv", 9)])
def test_projections_that_count_as_one_kernel(joint, count):
    model = Decoder(DecoderConfig(
        width=16, depth=2, vocabulary=32, reparametrization=SigmaReparam(joint=joint)
    ), rngs=nnx.Rngs(0))  # fmt: skip
    assert sum(gains(model.kernels.beside)) == count
    found = nnx.to_pure_dict(nnx.state(model.folded()))["stack"]["repeat"][0]["mixer"]["projecting"]
    together = np.concatenate([found[name][1] for name in ("query", "key", "value")[: {"qk": 2}.get(joint, 3)]], -1)
    alone = np.linalg.norm(found["query"][1], 2)
    np.testing.assert_allclose(alone if joint == "none" else np.linalg.norm(together, 2), 1, rtol=1e-5)


def test_folded_away_it_is_the_same_model():
    model = Decoder(SMALL, rngs=nnx.Rngs(0))
    folded = model.folded()
    assert folded.kernels is None and folded.folded() is folded
    np.testing.assert_array_equal(folded(TOKENS).logits, model(TOKENS).logits)


def test_vectors_change_in_training_steps_alone():
    model = Decoder(SMALL, rngs=nnx.Rngs(0))
    run = jax.jit(lambda params, buffers: nnx.merge(graph, params, buffers)(TOKENS).logits)
    graph, params, buffers = nnx.split(model, nnx.Param, Buffer)
    np.testing.assert_array_equal(run(params, buffers), run(params, buffers))
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(model, Buffer)), nnx.to_pure_dict(buffers))

    # a weight that has moved, as by an optimizer
    kernel = model.stack.repeat[0].feedforward.up
    kernel[...] += 0.3 * jax.random.normal(jax.random.key(1), kernel[...].shape)
    off = [abs(norms(model.folded())["stack/repeat/0/feedforward/up"] - 1).max()]
    for step in range(40):
        nnx.update(model, model.refreshed({}, jax.random.key(0), jnp.int32(step)))
        off.append(abs(norms(model.folded())["stack/repeat/0/feedforward/up"] - 1).max())
    assert off[0] > 1e-2 and off[-1] < 1e-3 and off[5] < off[0]
    for vector in jax.tree.leaves(arrays(model.kernels.beside).buffers):
        np.testing.assert_allclose(jnp.linalg.norm(vector, axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_hundred_layers_without_norms_are_finite():
    config = DecoderConfig(
        width=8, depth=100, vocabulary=16, norm="none", activation="gelu", reparametrization=SigmaReparam()
    )
    model = Decoder(config, rngs=nnx.Rngs(0), layers_at_once=1)
    graph, params, buffers = nnx.split(model, nnx.Param, Buffer)

    @jax.jit
    def loss(params):
        return (nnx.merge(graph, params, buffers)(TOKENS).logits ** 2).mean()

    value, found = jax.value_and_grad(loss)(params)
    assert value > 0 and all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((value, found)))


def test_bfloat16_activations_read_kernels_of_float32():
    model = Decoder(SMALL, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    made = norms(model.folded())
    assert all(each.variable[...].dtype == jnp.float32 for each in kernels(model.folded()).values())
    np.testing.assert_allclose(np.concatenate(list(made.values())), 1, rtol=1e-3)
    assert jnp.isfinite(model(TOKENS).logits).all()


@pytest.mark.parametrize("how", [SpectralNorm(where="feedforward"), WeightNorm(where="feedforward")], ids=repr)
def test_feed_forward_layers_alone(how):
    config = DecoderConfig(width=16, depth=2, vocabulary=32, norm="none", reparametrization=how)
    model, plain = (
        Decoder(each, rngs=nnx.Rngs(0)) for each in (config, dataclasses.replace(config, reparametrization=Plain()))
    )
    held = jax.tree_util.tree_leaves_with_path(tuple(arrays(model.kernels.beside)))
    assert len(held) == 2 and all("feedforward" in jax.tree_util.keystr(path) for path, _ in held)
    found, before = ({path: each.variable[...] for path, each in kernels(one).items()} for one in (model, plain))
    changed = {path[-1] for path, each in found.items() if (each != before[path]).any()}
    # the one that would start at 0
    assert changed == {"down"}
    found = norms(model.folded())["stack/repeat/0/feedforward/up"]
    before = norms(model)["stack/repeat/0/feedforward/up"]
    np.testing.assert_allclose(found, 1 if isinstance(how, SpectralNorm) else before, rtol=1e-5)
