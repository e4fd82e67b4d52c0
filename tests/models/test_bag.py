"""The model of bags against its equations, indifferent to order and padding, and what its penalty makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import arrays
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.mechanisms import Layout
from jattn.models.bag import BagConfig
from jattn.parts.pools.gated_attention import GatedAttention
from jattn.parts.pools.mean import Mean

BAGS = np.random.default_rng(1).normal(size=(2, 7, 5)).astype(np.float32)
SIZES = dict(width=8, features=5, classes=3, activation="relu", norm="none", pool=GatedAttention(4, rows=2))


def made(**options):
    """A model with noise for weights, as a compiled function of its arrays, bags and layout."""
    config = BagConfig(**(SIZES | options))
    shapes = nnx.eval_shape(lambda: config.build(rngs=nnx.Rngs(0), dtype=jnp.float32, remat="none"))
    graphdef, weights = nnx.split(shapes)
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, leaf.dtype), weights)
    return jax.jit(lambda weights, bags, layout=None: nnx.merge(graphdef, weights)(bags, layout=layout)), weights


def test_logits_are_those_of_the_equations():
    run, weights = made()
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(weights))
    found = run(weights, BAGS)
    for number, bag in enumerate(BAGS):
        x = np.maximum(bag @ own["instance"], 0)
        gates = 1 / (1 + np.exp(-x @ own["pooling"]["gate"]))
        logits = (np.tanh(x @ own["pooling"]["feature"]) * gates) @ own["pooling"]["row"]
        weight = np.exp(logits) / np.exp(logits).sum(0)
        # float32 through three products
        np.testing.assert_allclose(found.features[number], (weight.T @ x).mean(0), rtol=1e-5, atol=1e-6)
        want = (weight.T @ x).mean(0) @ own["head"]["table"]
        np.testing.assert_allclose(found.logits[number], want, rtol=1e-5, atol=1e-5)
        # one layer, one row, as many heads as the pool has rows
        entropy = -(weight * np.log(weight)).sum(0)
        np.testing.assert_allclose(found.record.stats.entropy[0, number, 0], entropy, rtol=1e-5)
    assert found.record.stats.visible.shape == (1, 2, 1, 2)


@pytest.mark.parametrize("depth", [0, 1])
def test_order_and_padding_change_nothing(depth):
    run, weights = made(depth=depth, norm="layer")
    want = run(weights, BAGS)
    moved = run(weights, BAGS[:, ::-1])
    padded = np.pad(BAGS, ((0, 0), (0, 3), (0, 0)), constant_values=9)
    short = run(weights, padded, Layout(valid=jnp.array([7, 4])))
    # float32, summed in another order
    np.testing.assert_allclose(moved.logits, want.logits, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(short.logits[0], want.logits[0], rtol=1e-5, atol=2e-5)
    assert short.record.stats.visible[0, :, 0].tolist() == [[7, 7], [4, 4]]
    assert abs(short.logits[1] - want.logits[1]).max() > 1e-3


def test_a_mean_is_that_of_the_instances():
    run, weights = made(pool=Mean(), activation="identity")
    own = nnx.to_pure_dict(weights)
    np.testing.assert_allclose(run(weights, BAGS).features, BAGS.mean(1) @ own["instance"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": 0}, "BagConfig.features must be a whole number of at least 1, got 0"),
        ({"classes": 0}, "BagConfig.classes must be a whole number of at least 1, got 0"),
        ({"depth": -1}, "BagConfig.depth must be a whole number of at least 0, got -1"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        BagConfig(**(SIZES | options))


def test_what_is_no_such_bag_is_refused():
    run, weights = made()
    for bags in (jnp.zeros((2, 7, 6)), jnp.zeros((2, 7), int), jnp.zeros((2, 7, 5), int)):
        with pytest.raises(ValueError, match="instances of 5 real numbers each, got .* --source bags"):
            run(weights, bags)


def test_sigma_reparam_makes_every_map_of_the_pool_too():
    config = BagConfig(**SIZES, depth=0, reparametrization=SigmaReparam())
    model = config.build(rngs=nnx.Rngs(0), dtype=jnp.float32, remat="none")
    assert len(jax.tree.leaves(arrays(model.kernels.beside).params)) == 5
    made = nnx.to_pure_dict(nnx.state(model.folded(), nnx.Param))
    for kernel in (made["instance"], made["head"]["table"], *made["pooling"].values()):
        np.testing.assert_allclose(np.linalg.norm(kernel, 2), 1, rtol=1e-5)
