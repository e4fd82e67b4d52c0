"""What every cache promises: decoding in pieces is one pass, with padding and what parts read of each token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Dims
from jattn.parts.caches import Cache
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from tests.support import assert_decodes, float64, parts_of, small_tiles  # noqa: F401

every_cache = pytest.mark.parametrize("cache", parts_of(Cache), ids=lambda cls: cls.__name__)
CHUNK = 64


def attention(cache, **options):
    return Attention(mask=Causal() & BlockDiagonal(CHUNK), position=Rotary(), cache=cache, **options)


def dims(tokens):
    return Dims(1, 1, 1, 4, 4, length=tokens)


@every_cache
def test_decoding_in_pieces_equals_one_pass(cache, monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)
    assert_decodes(attention(cache()))


@every_cache
def test_a_padded_batch_decodes_past_a_chunk(cache):
    mechanism, tokens = attention(cache()), 2 * CHUNK + 9
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, tokens, 1, 4)).astype(np.float32)
    valid = np.arange(tokens) >= np.array([[0], [7]])
    one = mechanism.state(dims(tokens), jnp.float32, mechanism.own(None))
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, *leaf.shape)), one)

    @jax.jit
    def step(state, q, k, v, valid):
        found = attend(q, k, v, mechanism, layout=Layout(valid=valid), state=state)
        return found.state, found.out, found.stats.visible

    whole, rows, counts = attend(q, k, v, mechanism, layout=Layout(valid=valid)), [], []
    for cut in (slice(0, CHUNK - 1), slice(CHUNK - 1, 2 * CHUNK), slice(2 * CHUNK, tokens)):
        state, out, visible = step(state, *(each[:, cut] for each in (q, k, v, valid)))
        rows.append(out)
        counts.append(visible)
    np.testing.assert_allclose(np.concatenate(rows, 1), whole.out, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate(counts, 1), whole.stats.visible)


@every_cache
def test_a_state_of_other_widths_is_refused(cache):
    mechanism = attention(cache())
    state = mechanism.state(dims(9), jnp.float32, mechanism.own(None))
    x = jnp.ones((2, 1, 6))
    with pytest.raises(ValueError, match="goes on in the attention that it is of, got one of keys and values"):
        attend(x, x, x, mechanism, state=state)
