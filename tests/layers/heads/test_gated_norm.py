"""The gated, normed heads of TransNormer: its equations written out, decoding, memory, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.flow import Flow
from jattn.layers.heads.gated_norm import GatedNorm
from jattn.layers.multihead import MultiHead
from jattn.mechanisms import Layout
from jattn.mechanisms.linear import LinearAttention
from jattn.parts.decays.lightning import Lightning
from jattn.parts.features.swish import Swish

WIDTH, HEADS, TOKENS, LAYER, DEPTH = 16, 4, 11, 1, 3
X = np.random.default_rng(0).normal(size=(2, TOKENS, WIDTH)).astype(np.float32)


def layer(key_heads=None):
    projection = GatedNorm(key_heads)
    attention = LinearAttention(Swish(), Lightning(DEPTH))
    made = MultiHead(attention, projection, projection.dims(WIDTH, HEADS, DEPTH), rngs=nnx.Rngs(0))
    made.projecting["output"][...] = jax.random.normal(jax.random.key(5), (WIDTH, WIDTH)) / 4
    return made


def split_by_head(x):
    return x.reshape(*x.shape[:-1], -1, WIDTH // HEADS)


def written_out(made, x, key_heads=HEADS):
    """Its token mixer in float64: silu, decay to the distance, one norm over all heads, the gate, the last product."""
    kernels = {name: np.asarray(each[...], np.float64) for name, each in made.projecting.items()}
    silu = lambda x: x / (1 + np.exp(-x))  # noqa: E731
    query, key, value = (split_by_head(x.astype(float) @ kernels[name]) for name in ("query", "key", "value"))
    key, value = (np.repeat(each, HEADS // key_heads, -2) for each in (key, value))
    # ALiBi's slopes of four heads, in the second of three layers
    rates = np.array([1 / 4, 1 / 16, 1 / 64, 1 / 256]) * (1 - LAYER / (DEPTH - 1) + 1e-5)
    distance = np.arange(TOKENS)[:, None] - np.arange(TOKENS)[None]
    decay = np.where(distance >= 0, np.exp(-rates[:, None, None] * distance), 0)
    out = np.einsum("bthd,bshd,hts,bshe->bthe", silu(query), silu(key), decay, value).reshape(x.shape)
    normed = out * WIDTH**0.5 / np.linalg.norm(out, axis=-1, keepdims=True)
    return (normed * (x.astype(float) @ kernels["gate"])) @ kernels["output"]


@pytest.mark.parametrize("key_heads", [None, 2])
def test_it_is_the_papers_token_mixer_and_hears_no_later_token(key_heads):
    made = layer(key_heads)
    run = jax.jit(lambda x: made(x, Flow(Layout(layer=LAYER)))[0])
    y, louder = run(X), X.copy()
    louder[:, 7:] *= 50
    np.testing.assert_array_equal(run(louder)[:, :7], y[:, :7])
    want = written_out(made, X, key_heads or HEADS)
    # float32 sums of 16 products, four times over; the norm's epsilon beside mean squares of order 1
    np.testing.assert_allclose(y, want, atol=2e-4 * np.abs(want).max())


def test_it_decodes_token_by_token():
    made = layer()
    whole, _, _ = jax.jit(lambda x: made(x, Flow(Layout(layer=LAYER))))(X)
    state, found = made.state(2, TOKENS, jnp.float32), []
    step = jax.jit(lambda x, state: made(x, Flow(Layout(layer=LAYER), state=state))[:2])
    for token in range(TOKENS):
        y, flow = step(X[:, token : token + 1], state)
        state = flow.state
        found.append(y)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=1e-5)


def test_the_gate_reads_the_layers_input_and_not_the_memory():
    made, memory = GatedNorm(), jnp.ones((3, WIDTH))
    own = made.own(made.init(jax.random.key(0), made.dims(WIDTH, HEADS, None)))
    flow = Flow(Layout(head=(np.arange(HEADS), HEADS, HEADS)), memory=memory)
    split = made.split(own, X[0], flow)
    gate, nothing = split.extra
    np.testing.assert_allclose(gate["heads"]["gate"], split_by_head(X[0] @ own["gate"]), atol=1e-5)
    assert nothing == {} and split.key.shape == (3, HEADS, WIDTH // HEADS)


def test_no_heads_are_refused():
    with pytest.raises(ValueError, match="key_heads must be at least 1, got 0"):
        GatedNorm(0)
