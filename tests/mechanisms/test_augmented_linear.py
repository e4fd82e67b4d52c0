"""The convolution beside linear attention: written out, its gradient, decoding, devices, refusals."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.augmented_linear import AugmentedLinear
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.weights import attention_weights
from jattn.part import Dims, Variables
from jattn.parts.features.mixed_chunk import MixedChunk
from tests.support import assert_close, float64  # noqa: F401
from tests.support import compiled_attend as attend

TOKENS, WIDTH, VALUE_WIDTH, TAPS = 19, 6, 5, 7
AUGMENTED = AugmentedLinear(MixedChunk(4), TAPS)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def given(dtype=np.float32):
    """Queries, keys, values and the kernel."""
    sizes = (TOKENS, 4, WIDTH), (TOKENS, 2, WIDTH), (TOKENS, 2, VALUE_WIDTH), (4, TAPS)
    return tuple(draw(*size, seed=n).astype(dtype) for n, size in enumerate(sizes))


def serve(query, key, value, kernel, layout=None):
    return attend(query, key, value, AUGMENTED, variables=Variables({"kernel": kernel}, {}), layout=layout)


def convolution(value, kernel):
    """Tap by tap: those before the first token read nothing."""
    value = jnp.repeat(value, 2, 1)
    shifted = [jnp.concatenate([jnp.zeros_like(value[:r]), value[: TOKENS - r]]) for r in range(TAPS)]
    return sum(kernel[None, :, r, None] * shifted[r] for r in range(TAPS))


def test_value_and_every_gradient_are_those_of_the_taps_one_by_one(float64):  # noqa: F811
    valid = np.arange(TOKENS) < TOKENS - 2
    weights = draw(TOKENS, 4, VALUE_WIDTH, seed=9) * valid[:, None, None]
    layout = Layout(valid=jnp.asarray(valid))

    def by(form):
        def loss(given):
            out = form(*given)
            return (out * weights).sum(), jnp.where(valid[:, None, None], out, 0)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(given(float))

    def written_out(query, key, value, kernel):
        return attend(query, key, value, LinearAttention(MixedChunk(4)), layout=layout).out + convolution(value, kernel)

    assert_close(by(written_out), by(lambda *each: serve(*each, layout).out), 1e-12)


def test_a_fresh_kernel_adds_nothing():
    query, key, value, _ = given()
    fresh = AUGMENTED.init(jax.random.key(0), Dims(4, 2, 2, WIDTH, VALUE_WIDTH)).params
    assert fresh["kernel"].shape == (4, TAPS)
    found, alone = serve(query, key, value, **fresh), attend(query, key, value, LinearAttention(MixedChunk(4)))
    np.testing.assert_array_equal(found.out, alone.out)
    np.testing.assert_array_equal(found.stats.visible, alone.stats.visible)


def test_no_row_hears_a_later_token():
    before = np.asarray(serve(*given()).out)
    louder = [x.copy() for x in given()]
    for x in louder[:3]:
        x[10:] *= 50
    after = np.asarray(serve(*louder).out)
    np.testing.assert_array_equal(before[:10], after[:10])
    assert not np.array_equal(before[10], after[10])


def test_weights_of_rows_are_what_they_take_from_each_value():
    query, key, _, kernel = given()
    rows, layout = np.array([0, 4, 15]), Layout(valid=jnp.int32(TOKENS - 2))
    each = np.repeat(np.eye(TOKENS, dtype=np.float32)[:, None], 2, 1)
    variables = Variables({"kernel": kernel}, {})
    weights = functools.partial(attention_weights, attention=AUGMENTED, rows=rows, variables=variables, layout=layout)
    found = jax.jit(weights)(query, key)
    want = np.asarray(serve(query, key, each, kernel, layout).out)[rows].swapaxes(0, 1)
    np.testing.assert_allclose(found, want, atol=2e-6)


@functools.partial(jax.jit, static_argnums=5)
def step(query, key, value, kernel, state, attention):
    return attend(query, key, value, attention, variables=Variables({"kernel": kernel}, {}), state=state)


def test_decoding_in_pieces_is_the_whole_pass():
    *vectors, kernel = given()
    state = AUGMENTED.state(Dims(4, 2, 2, WIDTH, VALUE_WIDTH), jnp.float32, AUGMENTED.own(None))
    found, at, began = [], 0, jax.tree.map(jnp.shape, state)
    for size in (3, 1, 1, 9, 5):
        got = step(*(jnp.asarray(x[at : at + size]) for x in vectors), kernel, state, AUGMENTED)
        state, at = got.state, at + size
        found.append(got.out)
    np.testing.assert_allclose(np.concatenate(found), serve(*given()).out, atol=5e-6)
    assert jax.tree.map(jnp.shape, state) == began


SHARDED = """
import chex
chex.set_n_cpu_devices(4)
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jattn.mechanisms.augmented_linear import AugmentedLinear
from jattn.parts.features.mixed_chunk import MixedChunk
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

random = np.random.default_rng(0)
qkv = tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in ((32, 2, 6), (32, 1, 6), (32, 1, 5)))
kernel = jnp.asarray(random.normal(size=(2, 5)), jnp.float32)


def loss(qkv, kernel, axis):
    attention = AugmentedLinear(MixedChunk(4), 5, context_axis=axis)
    variables = jattn.Variables({"kernel": kernel}, {})
    out = jattn.attend(*qkv, attention, variables=variables, layout=jattn.Layout(valid=jnp.int32(29))).out
    return jnp.sin(out).sum(), out


run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), static_argnums=2)
want = run(qkv, kernel, None)
mesh = jax.make_mesh((4,), ("c",), axis_types=(AxisType.Auto,))
with jax.set_mesh(mesh):
    found = run(tuple(jax.device_put(x, NamedSharding(mesh, P("c"))) for x in qkv), kernel, "c")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *jax.device_get((want, found)))
    for attention, words in (
        (AugmentedLinear(MixedChunk(5), 5, context_axis="c"), "whole blocks of 5 tokens, got 8"),
        (AugmentedLinear(MixedChunk(4), 10, context_axis="c"), "kernel of 10 taps reads the values of one device"),
    ):
        try:
            jattn.attend(*qkv, attention, variables=attention.init(jax.random.key(0), jattn.Dims.of(*qkv)))
            raise SystemExit("not refused")
        except ValueError as error:
            assert words in str(error), error
print("equal")
"""


@pytest.mark.slow
def test_tokens_on_several_devices_are_those_of_one():
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def test_refusals():
    with pytest.raises(ValueError, match="taps must be at least 1 token, got 0"):
        AugmentedLinear(taps=0)
    query, key, value, kernel = given()
    with pytest.raises(ValueError, match="has a row for each of them, got 5 queries and 19 keys"):
        serve(query[:5], key, value, kernel)
    with pytest.raises(ValueError, match="reads across segments, got some; give each segment a call of its own"):
        serve(query, key, value, kernel, Layout(segments=np.zeros(TOKENS, int)))
