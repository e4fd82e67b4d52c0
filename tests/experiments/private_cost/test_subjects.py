"""Blocks and decoders as they are exported, against the presets' own."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from jattn.models.decoder import Decoder
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "private_cost"
subjects = listed.executed(FOLDER / "subjects.py")
SHAPE = subjects.Shape(5, 8, 2)


def run(subject):
    return np.asarray(jax.jit(subject.function)(*subject.arguments))


@pytest.mark.parametrize("name", [*subjects.BLOCKS, subjects.PRUNED])
def test_a_block_has_what_its_name_says(name):
    subject = subjects.block(name, SHAPE)
    text = str(jax.make_jaxpr(subject.function)(*subject.arguments))
    norms, gelu, relu = "rsqrt" in text, "tanh" in text, "relu" in text
    assert (norms, gelu, relu) == ("LN" in name, name.endswith("G"), name.endswith("R"))
    sizes = [leaf.size for leaf in jax.tree.leaves(subject.arguments[0]) if leaf.ndim == 2 and leaf.shape != (2, 5)]
    inside = {"pruned": 0, "Fu": 64, "": 2 * 4 * 64}
    (second,) = [size for mark, size in inside.items() if mark in name][:1]
    assert sum(sizes) == 4 * 64 + second


def test_a_block_is_not_the_identity():
    subject = subjects.block("SM", SHAPE)
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(subject.arguments[0]))
    assert not np.allclose(run(subject), subject.arguments[1], atol=0.1)


def test_another_function_in_softmax_place_gives_another_output():
    plain, other = (run(subjects.block("SM", SHAPE, weights)) for weights in ("softmax", "linear"))
    assert not np.allclose(plain, other, atol=1e-3)


def test_a_decoder_from_secret_rows_is_the_decoder():
    config = dataclasses.replace(subjects.config("SM+ScFuFFN", SHAPE), depth=2, vocabulary=11)
    model = Decoder(config, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)
    model = nnx.merge(graphdef, subjects.drawn(params))
    tokens = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    want = np.asarray(jax.jit(lambda tokens: model(tokens).logits)(tokens))
    found = run(subjects.decoder(model, tokens))
    # float32 through two blocks, sums in another order
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
    assert np.abs(want).max() > 0.1


def test_operations_are_of_the_shape_that_a_block_has():
    found = subjects.operations(SHAPE)
    assert found["softmax"].arguments[0].shape == (2, 5, 5) and found["gelu"].arguments[0].shape == (5, 32)
    (x,) = found["layer_norm"].arguments
    want = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    # the constant beside the variance, 1e-6, and float32
    np.testing.assert_allclose(run(found["layer_norm"]), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(found["rms_norm"]), x / np.sqrt((x**2).mean(-1, keepdims=True)), rtol=1e-5)
