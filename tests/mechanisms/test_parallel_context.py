"""Pieces inside one text of a decoder against each piece encoded by a call of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.parallel_attention import parallel_attention
from jattn.mechanisms.parallel_context import parallel_context
from jattn.models.decoder import Decoder, DecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from tests.support import compiled_attend as attend
from tests.support import float64  # noqa: F401

# compiles fastest; the contracts hold that the tiled engine gives the same
ROTARY = Attention(mask=Causal(), position=Rotary(), implementation="dense")
SINK, LENGTH, COUNT, TOKENS = 1, 4, 3, 17
PIECES = parallel_context(ROTARY, LENGTH, COUNT, SINK)


def made():
    return jax.random.normal(jax.random.key(0), (3, TOKENS, 2, 4), jnp.float64)


def test_one_piece_is_full_attention(float64):  # noqa: F811
    q, k, v = made()
    one = attend(q, k, v, parallel_context(ROTARY, 9, 1)).out
    # float64: what the compiler joins differs
    np.testing.assert_allclose(one, attend(q, k, v, ROTARY).out, rtol=1e-12, atol=1e-13)


def test_rows_of_a_piece_are_those_of_a_text_of_sink_and_piece(float64):  # noqa: F811
    q, k, v = made()
    found = attend(q, k, v, PIECES).out
    for number in range(COUNT):
        rows = np.r_[:SINK, SINK + number * LENGTH : SINK + (number + 1) * LENGTH]
        # the same few numbers summed in another order
        np.testing.assert_allclose(found[rows], attend(q[rows], k[rows], v[rows], ROTARY).out, rtol=1e-12, atol=1e-13)


def test_rows_of_the_query_are_parallel_attention_over_turned_pieces(float64):  # noqa: F811
    q, k, v = made()
    end = SINK + COUNT * LENGTH
    place = np.r_[:SINK, np.tile(np.arange(LENGTH), COUNT) + SINK, np.arange(TOKENS - end) + SINK + LENGTH]
    rate = 10000.0 ** (-np.arange(2) / 2)
    turn = np.exp(1j * place[:, None, None] * rate)
    q, k = (turn * (x[..., :2] + 1j * x[..., 2:]) for x in (q, k))
    q, k = (jnp.concatenate([x.real, x.imag], -1) for x in (q, k))
    pieces = [(k[cut], v[cut]) for cut in (slice(n, n + LENGTH) for n in range(SINK, end, LENGTH))]
    found = attend(*made(), PIECES)
    # what is behind the pieces it sees up to itself: the last row all
    always = [(k[:SINK], v[:SINK]), (k[end:], v[end:])]
    want = jax.jit(lambda query: parallel_attention(query, pieces, Attention(implementation="dense"), always=always))(
        q[-1:]
    )
    np.testing.assert_allclose(found.out[-1], want.out[0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.stats.entropy[-1], want.stats.entropy[0], rtol=1e-12)


def test_a_trained_decoder_reads_pieces_apart_by_the_arrays_that_it_has():
    config = DecoderConfig(width=8, depth=2, heads=1, vocabulary=11, attention=ROTARY)
    apart = dataclasses.replace(config, attention=PIECES)
    _, arrays = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))
    arrays = jax.tree.map(lambda x: x + 0.5 * jax.random.normal(jax.random.key(1), x.shape), arrays)
    graph = nnx.graphdef(nnx.eval_shape(lambda: Decoder(apart, rngs=nnx.Rngs(0))))
    logits = jax.jit(lambda tokens: nnx.merge(graph, arrays)(tokens).logits[0])
    tokens = jax.random.randint(jax.random.key(2), (1, TOKENS), 0, 11)
    # the first two pieces alike
    tokens = tokens.at[:, SINK + LENGTH : SINK + 2 * LENGTH].set(tokens[:, SINK : SINK + LENGTH])
    plain, other = logits(tokens), logits(tokens.at[0, SINK].add(1) % 11)
    first, second, third, query = (slice(n, n + LENGTH) for n in range(SINK, TOKENS, LENGTH))
    np.testing.assert_allclose(plain[first], plain[second], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(other[second], plain[second])
    np.testing.assert_array_equal(other[third], plain[third])
    assert (other[query] != plain[query]).any(-1).all()
