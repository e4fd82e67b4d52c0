"""Unit vectors, squares of what is positive inside a chunk, and decoding across the borders of chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Place, Side
from jattn.parts.features.mixed_chunk import MixedChunk, unit
from jattn.parts.positions.rotary import Rotary
from tests.support import compiled_attend as attend

TOKENS, WIDTH, BLOCK = 19, 6, 4


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def qkv():
    return draw(TOKENS, 4, WIDTH), draw(TOKENS, 2, WIDTH, seed=1), draw(TOKENS, 2, 5, seed=2)


def written_out(query, key, value, block):
    """As the paper's code has it: squares in a group, and the sum of k v over whole groups before it, in float64."""
    query, key, value = (x.astype(float) for x in (query, key, value))
    query, key = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
    out = np.zeros((TOKENS, 4, value.shape[-1]))
    for i, h in np.ndindex(TOKENS, 4):
        first, k, v = i // block * block, key[:, h // 2], value[:, h // 2]
        near = np.maximum(k[first : i + 1] @ query[i, h], 0) ** 2
        out[i, h] = near @ v[first : i + 1] + query[i, h] @ (k[:first].T @ v[:first])
    return out


# a block of all tokens is a row of the specification's table: causal attention with weights relu(q k)^2
@pytest.mark.parametrize("block", [1, BLOCK, TOKENS, 64])
def test_it_is_the_papers_sum(block):
    found = attend(*qkv(), LinearAttention(MixedChunk(block)))
    # float32: sums of some twenty products of order 1
    np.testing.assert_allclose(found.out, written_out(*qkv(), block), atol=5e-6)
    assert (np.asarray(found.stats.visible) == np.arange(1, TOKENS + 1)[:, None]).all()


def test_vectors_have_length_one_and_zero_stays_zero_with_a_finite_gradient():
    vectors = jnp.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    np.testing.assert_allclose(unit(vectors)[:, 0], [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(vectors)).all()


def test_heads_that_share_a_key_have_their_own_weights():
    query, key, _ = (jnp.asarray(x) for x in qkv())
    sides = [Side(x, np.arange(TOKENS), np.arange(TOKENS), None, None, TOKENS, {}) for x in (query, key)]
    found = MixedChunk().within({}, *sides, Place(np.arange(4), 4, 2))
    one, other = (np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
    np.testing.assert_allclose(found[3], np.maximum(one[:, 3] @ other[:, 1].T, 0) ** 2, atol=1e-6)


@functools.partial(jax.jit, static_argnums=4)
def step(query, key, value, state, attention):
    return attend(query, key, value, attention, state=state)


@pytest.mark.parametrize("pieces", [[1] * TOKENS, [3, 5, 1, 1, 9]], ids=["single", "pieces"])
def test_it_decodes_in_pieces_from_a_state_of_one_size(pieces):
    attention = LinearAttention(MixedChunk(BLOCK), position=Rotary())
    state = attention.state(Dims(4, 2, 2, WIDTH, 5), jnp.float32, attention.own(None))
    whole, found, at, began = attend(*qkv(), attention), [], 0, jax.tree.map(jnp.shape, state)
    for size in pieces:
        got = step(*(jnp.asarray(x[at : at + size]) for x in qkv()), state, attention)
        state, at = got.state, at + size
        found.append(got)
    np.testing.assert_allclose(np.concatenate([each.out for each in found]), whole.out, atol=2e-6)
    np.testing.assert_array_equal(np.concatenate([each.stats.visible for each in found]), whole.stats.visible)
    assert jax.tree.map(jnp.shape, state) == began and state.length == TOKENS and state.keys.visible == 16


def test_padding_behind_changes_no_row():
    junk = [np.concatenate([x, np.full((5, *x.shape[1:]), np.nan, np.float32)]) for x in qkv()]
    found = attend(*junk, LinearAttention(MixedChunk(BLOCK)), layout=Layout(valid=jnp.int32(TOKENS))).out
    np.testing.assert_allclose(found[:TOKENS], attend(*qkv(), LinearAttention(MixedChunk(BLOCK))).out, atol=1e-6)
    assert not np.asarray(found[TOKENS:]).any()


def test_a_block_below_1_is_refused():
    with pytest.raises(ValueError, match="block must be at least 1 token, got 0"):
        MixedChunk(0)
