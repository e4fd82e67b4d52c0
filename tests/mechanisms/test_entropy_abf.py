"""Entropy-ABF against its equation, in one call and through the layers of a decoder."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.entropy_abf import entropy_abf
from jattn.models.decoder import Decoder, DecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.length_scale import LengthScale
from tests.support import compiled_attend as attend

ROTARY = Attention(mask=Causal(), position=Rotary())


def by_definition(q, k, v, context, base):
    """The paper's equation for rows counted from 1, each pair of coordinates a complex number."""
    rate = base ** (-np.arange(0, q.shape[-1], 2) / q.shape[-1])
    turn = np.exp(1j * np.arange(len(q))[:, None, None] * rate)
    half = q.shape[-1] // 2
    q, k = (turn * (x[..., :half] + 1j * x[..., half:]) for x in (q, k))
    out = np.zeros_like(v)
    for t, h in np.ndindex(v.shape[:2]):
        logits = np.real(q[t, h] * np.conj(k[: t + 1, h])).sum(-1) / np.sqrt(2 * half)
        weights = np.exp(max(1, np.log(t + 1) / np.log(context)) * logits)
        out[t, h] = weights / weights.sum() @ v[: t + 1, h]
    return out


@pytest.mark.parametrize("layer", [1, 2])
def test_base_and_scale_are_those_of_the_equation_from_the_third_layer_on(layer):
    q, k, v = np.random.default_rng(0).normal(size=(3, 13, 2, 6)).astype(np.float32)
    found = attend(q, k, v, entropy_abf(ROTARY, context=5), layout=Layout(layer=layer)).out
    # a skipped layer, here by a context that no row exceeds, is the rotation of RoFormer with base 5e5 and no more
    want = by_definition(q, k, v, 13 if layer < 2 else 5, 500000.0)
    # float32 beside float64: a few units in the last place of logits of size 10
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_as_published_it_skips_two_layers_and_as_shipped_none():
    assert entropy_abf(ROTARY).score == (LengthScale(context=4096, skip=2),)
    assert entropy_abf(ROTARY, skip=0).score == (LengthScale(),)
    assert entropy_abf(ROTARY).position == Rotary(base=5e5)


def test_arrays_of_other_scores_stay_where_they_are():
    attention = dataclasses.replace(ROTARY, score=Forgetting())
    assert entropy_abf(attention).score == (Forgetting(), LengthScale(skip=2))


def test_positions_that_do_not_turn_are_refused():
    with pytest.raises(ValueError, match="Rotary positions a larger base, got Unturned"):
        entropy_abf(Attention())


def test_layers_of_a_decoder_are_skipped_by_their_number_in_the_stack():
    # the last block stands alone behind the scanned ones
    config = DecoderConfig(width=8, depth=3, heads=1, vocabulary=11, attention=ROTARY, pruned=1)
    tokens = jax.random.randint(jax.random.key(0), (1, 9), 0, 11)
    _, arrays = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))
    # what writes to the stream begins at 0; any other numbers will do
    arrays = jax.tree.map(lambda x: x + 0.5 * jax.random.normal(jax.random.key(1), x.shape), arrays)

    def entropy(skip):
        attention = entropy_abf(ROTARY, context=3, skip=skip)
        model = nnx.eval_shape(lambda: Decoder(dataclasses.replace(config, attention=attention), rngs=nnx.Rngs(0)))
        run = jax.jit(lambda tokens: nnx.merge(nnx.graphdef(model), arrays)(tokens).record.stats.entropy)
        return np.asarray(run(tokens))[:, 0, :, 0]

    plain, skipped = entropy(3), entropy(2)
    np.testing.assert_array_equal(skipped[:2], plain[:2])
    # up to the context of training no row moves, beyond it each
    np.testing.assert_allclose(skipped[2, :3], plain[2, :3], rtol=1e-6)
    assert (skipped[2, 3:] != plain[2, 3:]).all() and abs(skipped[2] - plain[2]).max() > 0.1
