"""LLN + Diag against its equations in float64, its limits, and decoding from a state of one size."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.log_normal_diagonal import LogNormalDiagonal
from jattn.mechanisms.weights import attention_weights
from jattn.part import Dims, Variables
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.masks.causal import Causal
from tests.support import assert_close, float64  # noqa: F401
from tests.support import compiled_attend as attend

TOKENS, WIDTH, VALUE_WIDTH, BLOCK = 17, 6, 5, 7
BUFFERS = {"feature": {"query_deviation": 0.9, "key_deviation": 1.6}}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def qkv(dtype=np.float32):
    made = draw(TOKENS, 4, WIDTH), draw(TOKENS, 2, WIDTH, seed=1), draw(TOKENS, 2, VALUE_WIDTH, seed=2)
    return tuple(x.astype(dtype) for x in made)


def shares(attention, dtype=np.float32):
    names = attention.init(jax.random.key(0), Dims(4, 2, 2, WIDTH, VALUE_WIDTH)).params
    return {name: draw(4, VALUE_WIDTH, seed=len(name)).astype(dtype) for name in names}


def serve(qkv, attention, params=None, layout=None):
    variables = Variables({} if params is None else params, jax.tree.map(qkv[0].dtype.type, BUFFERS))
    return attend(*qkv, attention, variables=variables, layout=layout)


def written_out(qkv, params, mixing, order, valid):
    """Both halves as matrices of weights."""
    query, key, value = qkv
    key, value = jnp.repeat(key, 2, 1), jnp.repeat(value, 2, 1)
    one, other = BUFFERS["feature"]["query_deviation"], BUFFERS["feature"]["key_deviation"]
    common = (((one * other) ** 2 + 0.35487039130661086) / (2 * 0.14855178144710912)) ** 0.5
    seen = jnp.asarray(valid)[None] & (np.tril(np.ones((TOKENS, TOKENS), bool)) if order == "causal" else True)
    product = jnp.einsum("thf,shf->hts", jnp.exp(common / one * query), jnp.exp(common / other * key))
    weights = jnp.where(seen, product, 0)
    linear = jnp.einsum("hts,she->the", weights / weights.sum(-1, keepdims=True), value)
    block = np.arange(TOKENS) // BLOCK
    near = seen & (block[:, None] == block[None])
    logits = jnp.where(near, jnp.einsum("thd,shd->hts", query, key) / WIDTH**0.5, -jnp.inf)
    diagonal = jnp.einsum("hts,she->the", jax.nn.softmax(logits, -1), value)
    if mixing == "average":
        return (linear + diagonal) / 2
    share = params["linear"][None]
    return share * linear + (params["diagonal"][None] if mixing == "scale" else 1 - share) * diagonal


@pytest.mark.parametrize(
    "mixing, order",
    [
        ("ratio", "causal"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("average", "causal"), ("scale", "full"))),
    ],
)
def test_value_and_every_gradient_are_those_of_the_equations(mixing, order, float64):  # noqa: F811
    attention = LogNormalDiagonal(block=BLOCK, mixing=mixing, order=order)
    given, params = qkv(float), shares(attention, float)
    # a token of the middle and the last two are padding, whose rows are 0
    valid = ~np.isin(np.arange(TOKENS), (3, 15, 16))
    weights = draw(TOKENS, 4, VALUE_WIDTH, seed=9) * valid[:, None, None]

    def by(form):
        def loss(given, params):
            out = form(given, params)
            return (out * weights).sum(), jnp.where(valid[:, None, None], out, 0)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(given, params)

    want = by(lambda given, params: written_out(given, params, mixing, order, valid))
    layout = Layout(valid=jnp.asarray(valid))
    found = by(lambda given, params: serve(given, attention, params, layout).out)
    assert_close(want, found, 1e-12)


def test_without_the_linear_half_one_block_is_dense_softmax():
    # a row of the specification's table: ratio 0, a block of all tokens
    nothing = {"linear": np.zeros((4, VALUE_WIDTH), np.float32)}
    found = serve(qkv(), LogNormalDiagonal(block=TOKENS, mixing="ratio"), nothing)
    np.testing.assert_allclose(found.out, attend(*qkv(), Attention(mask=Causal())).out, atol=1e-6)
    assert (np.asarray(found.stats.visible) == np.arange(1, TOKENS + 1)[:, None]).all()


def test_with_the_linear_half_alone_it_is_linear_log_normal_attention():
    everything = {"linear": np.ones((4, VALUE_WIDTH), np.float32)}
    found = serve(qkv(), LogNormalDiagonal(block=BLOCK, mixing="ratio"), everything)
    alone = serve(qkv(), LinearAttention(LogNormal()))
    np.testing.assert_allclose(found.out, alone.out, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, found.stats.observed, alone.stats.observed)


def test_a_block_is_as_long_as_heads_are_wide():
    narrow, wide = (serve(qkv(), LogNormalDiagonal(block=block)).out for block in (None, WIDTH))
    np.testing.assert_array_equal(narrow, wide)


def test_no_row_hears_a_later_token():
    attention, query = LogNormalDiagonal(block=BLOCK), qkv()
    louder = [x.copy() for x in query]
    for x in louder:
        x[9:] *= 50
    one, other = (np.asarray(serve(given, attention).out) for given in (query, louder))
    np.testing.assert_array_equal(one[:9], other[:9])
    assert not np.array_equal(one[9], other[9])


def test_weights_of_rows_are_what_they_take_from_each_value():
    query, key, _ = qkv()
    each = np.repeat(np.eye(TOKENS, dtype=np.float32)[:, None], 2, 1)
    attention, variables = LogNormalDiagonal(block=BLOCK), Variables({}, BUFFERS)
    weights = functools.partial(attention_weights, attention=attention, rows=np.array([0, 9]), variables=variables)
    found = jax.jit(weights)(query, key)
    want = np.asarray(serve((query, key, each), attention).out)[[0, 9]].swapaxes(0, 1)
    np.testing.assert_allclose(found, want, atol=1e-6)
    learned = LogNormalDiagonal(mixing="ratio")
    variables = learned.init(jax.random.key(0), Dims(4, 2, 2, WIDTH, 0))
    with pytest.raises(ValueError, match="so that rows have no weights, got mixing='ratio'"):
        attention_weights(query, key, learned, rows=slice(0, 2), variables=variables)


@functools.partial(jax.jit, static_argnums=4)
def step(query, key, value, state, attention, layout):
    return attend(query, key, value, attention, variables=Variables({}, BUFFERS), state=state, layout=layout)


def test_decoding_in_pieces_is_the_whole_pass_from_a_state_of_one_size():
    attention = LogNormalDiagonal(block=BLOCK)
    own = attention.own(Variables({}, BUFFERS))
    state = attention.state(Dims(4, 2, 2, WIDTH, VALUE_WIDTH), jnp.float32, own)
    # a packed text: positions begin with each of its two pieces
    segments, positions = np.repeat([0, 1], [10, 7]), np.concatenate([np.arange(10), np.arange(7)])
    whole = serve(qkv(), attention, layout=Layout(positions=positions, segments=segments)).out
    for first, last in ((0, 10), (10, 17)):
        alone = serve([x[first:last] for x in qkv()], attention).out
        np.testing.assert_allclose(whole[first:last], alone, atol=1e-6)
    found, began = [], jax.tree.map(jnp.shape, state)
    for first, last in ((0, 5), (5, 6), (6, 7), (7, 12), (12, 17)):
        here = Layout(positions=positions[first:last], segments=segments[first:last])
        got = step(*(jnp.asarray(x[first:last]) for x in qkv()), state, attention, here)
        state = got.state
        found.append(got.out)
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-6)
    assert jax.tree.map(jnp.shape, state) == began and int(state.linear.length) == TOKENS


SHARDED = """
import chex
chex.set_n_cpu_devices(4)
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

random = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
qkv, learned = (draw(2, 32, 2, 6), draw(2, 32, 2, 6), draw(2, 32, 2, 5)), {"linear": draw(2, 5)}


def loss(qkv, learned, axis):
    # blocks across the borders of devices
    attention = jattn.LogNormalDiagonal(block=5, mixing="ratio", context_axis=axis)
    buffers = attention.init(jax.random.key(0), jattn.Dims.of(*qkv)).buffers
    variables = jattn.Variables(learned, buffers)
    found = jattn.attend(*qkv, attention, variables=variables, layout=jattn.Layout(valid=jnp.array([32, 21])))
    return jnp.sin(found.out).sum(), (found.out, found.stats.observed)


run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), static_argnums=2)
want = run(qkv, learned, None)
mesh = jax.make_mesh((2, 2), ("b", "c"), axis_types=(AxisType.Explicit,) * 2)
with jax.set_mesh(mesh):
    lying = tuple(jax.device_put(x, NamedSharding(mesh, P(None, "c", "b"))) for x in qkv)
    found = run(lying, learned, "c")
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *jax.device_get((want, found)))
print("equal")
"""


@pytest.mark.slow
def test_heads_and_tokens_on_several_devices_are_those_of_one():
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def test_bfloat16_stays_and_errs_by_its_rounding():
    found = serve([x.astype(jnp.bfloat16) for x in qkv()], LogNormalDiagonal(block=BLOCK)).out
    assert found.dtype == jnp.bfloat16
    rounded = [np.asarray(x.astype(jnp.bfloat16), np.float32) for x in qkv()]
    want = np.asarray(serve(rounded, LogNormalDiagonal(block=BLOCK)).out)
    # both halves and their mean are rounded to 8 bits, of values up to 3
    assert np.abs(np.asarray(found, np.float32) - want).max() < 2 * 2.0**-8 * np.abs(want).max()


def test_refusals():
    with pytest.raises(ValueError, match="mixing must be one of average, scale, ratio, got 'sum'"):
        LogNormalDiagonal(mixing="sum")
    with pytest.raises(ValueError, match="block must be at least 1 token, got 0"):
        LogNormalDiagonal(block=0)
    with pytest.raises(ValueError, match="order must be 'causal' or 'full', got 'both'"):
        LogNormalDiagonal(order="both")
