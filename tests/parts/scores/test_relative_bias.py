"""Mega's simple bias against its definition, and which lengths it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Dims, Variables, part
from jattn.parts.masks import Full
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.scores.relative_bias import RelativeBias
from tests.support import assert_close, compiled_attend, float64, make, padded_layout, run, small_tiles  # noqa: F401


def logits_of(table, length, tokens, layout=None, mask=Full()):
    """The logits "h t s" of vectors of zeros, whose row s of values says what the log weight of key s is."""
    zero, each = jnp.zeros((tokens, len(table), 4)), jnp.eye(tokens)[:, None]
    variables = Variables({"score": {"0": {"table": table}}}, {})
    attention = Attention(score=RelativeBias(length), mask=mask)
    found = compiled_attend(
        zero, zero, jnp.broadcast_to(each, (tokens, len(table), tokens)), attention, variables=variables, layout=layout
    )
    return (jnp.log(found.out) + found.stats.log_normalizer[..., None]).swapaxes(0, 1)


def test_the_entry_of_a_pair_is_that_of_its_distance():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(2, 13)), jnp.float32)
    for tokens in (7, 4):
        found = logits_of(table, 7, tokens)
        want = [[[table[h, 7 - 1 + j - i] for j in range(tokens)] for i in range(tokens)] for h in range(2)]
        # a log of an exponential
        np.testing.assert_allclose(found, want, atol=2e-6)


def test_a_fresh_table_is_small_noise_for_each_head():
    made = RelativeBias(5000).init(jax.random.key(0), Dims(3, 1, 1, 8, 5)).params["table"]
    assert made.shape == (3, 9999)
    # 3e4 draws: three standard errors of a deviation are 1.3 %
    np.testing.assert_allclose(np.std(made), 0.02, rtol=0.013)


@part
class ByPair(RelativeBias):
    """The bias as it is defined, by a look-up for each pair."""

    def pairs(self, own, logits, tile):
        offset = tile.key.position[None, :] - tile.query.position[:, None]
        return logits + own["table"][tile.place.head][:, self.length - 1 + offset]


@pytest.mark.parametrize("positions", [np.arange(53) + 70, np.r_[0:20, 0:33]], ids=["running", "restarting"])
def test_values_and_gradients_are_those_of_a_look_up_a_pair(positions, float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    layout = padded_layout()._replace(positions=jnp.asarray(positions))
    made, buffers = make(Attention(score=RelativeBias(53)))
    want = run(tiled, Attention(score=ByPair(53)), made, buffers, layout)
    got = run(tiled, Attention(score=RelativeBias(53)), made, buffers, layout)
    # the same terms, summed along diagonals first in the gradient of the table
    assert_close(want, got, 1e-13)


def attended(tokens, mask=Full(), layout=None, call=compiled_attend):
    x = jnp.ones((tokens, 1, 4))
    variables = Variables({"score": {"0": {"table": jnp.arange(9.0)[None]}}}, {})
    return call(x, x, x, Attention(score=RelativeBias(5), mask=mask), variables=variables, layout=layout).out


@pytest.mark.parametrize("mask", [Full(), Causal(), BlockDiagonal(6), Window(5), Causal() | BlockDiagonal(5)])
def test_a_call_whose_rows_may_see_farther_is_refused(mask):
    with pytest.raises(
        ValueError, match=r"RelativeBias has numbers for positions less than 5 tokens apart, got .* of 12 "
    ):
        attended(12, mask)


def test_the_length_that_is_named_serves_positions_that_are_given():
    with pytest.raises(ValueError, match=r"make it with RelativeBias\(length=56\)"):
        attended(12, layout=Layout(positions=5 * jnp.arange(12)), call=attend)
    layout, x = Layout(positions=5 * jnp.arange(12)), jnp.ones((12, 1, 4))
    variables = Variables({"score": {"0": {"table": jnp.ones((1, 111))}}}, {})
    attention = Attention(score=RelativeBias(56))
    assert jnp.isfinite(compiled_attend(x, x, x, attention, variables=variables, layout=layout).out).all()


@pytest.mark.parametrize("mask", [BlockDiagonal(5), Causal() & BlockDiagonal(3), Window(4), Window(4, 4)])
def test_a_mask_that_keeps_rows_near_lets_any_length_be(mask):
    assert jnp.isfinite(attended(12, mask)).all()


def test_chunks_are_calls_of_their_own():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9)), jnp.float32)
    found, alone = logits_of(table, 5, 12, mask=BlockDiagonal(5)), logits_of(table, 5, 5)
    np.testing.assert_allclose(found[:, 5:10, 5:10], alone, atol=1e-6)
    assert (found[:, 5:10, :5] == -np.inf).all()


def test_known_positions_decide_and_unknown_ones_count_from_0():
    near = jnp.asarray([30, 31, 32, 30, 31, 34])
    assert jnp.isfinite(attended(6, layout=Layout(positions=near), call=attend)).all()
    for positions, call in ((near.at[5].set(35), attend), (near, compiled_attend)):
        with pytest.raises(ValueError, match="RelativeBias has .* of 6 tokens"):
            attended(6, layout=Layout(positions=positions), call=call)
    # what is no token may have any position
    layout = Layout(positions=near.at[5].set(90), valid=jnp.arange(6) < 5)
    assert jnp.isfinite(attended(6, layout=layout, call=attend)).all()


def test_decoding_reads_the_last_row_and_a_cache_that_is_too_long_is_refused():
    attention = Attention(score=RelativeBias(7), mask=Causal())
    dims = Dims(2, 2, 2, 4, 4, length=7)
    variables = attention.init(jax.random.key(0), dims)
    q, k, v = (jax.random.normal(jax.random.key(n), (7, 2, 4)) for n in range(3))
    state = attention.state(dims, jnp.float32, attention.own(variables))
    first = compiled_attend(q[:4], k[:4], v[:4], attention, variables=variables, state=state)
    rest = compiled_attend(q[4:], k[4:], v[4:], attention, variables=variables, state=first.state)
    whole = compiled_attend(q, k, v, attention, variables=variables)
    np.testing.assert_allclose(jnp.concatenate([first.out, rest.out]), whole.out, atol=1e-6)
    state = attention.state(dataclasses.replace(dims, length=8), jnp.float32, attention.own(variables))
    with pytest.raises(ValueError, match="RelativeBias.*of 8 tokens"):
        compiled_attend(q, k, v, attention, variables=variables, state=state)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="RelativeBias.length must be at least 1"):
        RelativeBias(0)
