"""Mega's layer as an NNX module and as a pure function are one, with any batch, norms, and decoding."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jattn
from jattn.layers.buffers import arrays
from jattn.layers.heads.mega import Mega
from jattn.layers.mega_attention import MegaAttention
from jattn.mechanisms import Layout
from jattn.mechanisms.recurrence import Recurrence
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.parts.transitions.damped_ema import DampedEma

MEGA = Mega(4, recurrence=Recurrence(DampedEma(2)))
ATTENTION = jattn.Attention(RotaryBias(), Causal() & BlockDiagonal(5))
X = np.random.default_rng(0).normal(size=(2, 3, 11, 6)).astype(np.float32)
LAYOUT = Layout(valid=jnp.arange(11) >= 2)


def layer(norm="layer", place="before"):
    return MegaAttention(6, MEGA, ATTENTION, norm, place, rngs=nnx.Rngs(0))


def variables(made):
    return arrays(made.block.mixer.projecting), arrays(made.block.mixer.attending)


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_layer_is_the_function_between_its_norms(place):
    made = layer(place=place)
    got = jax.jit(lambda x: made(x, layout=LAYOUT))(X)
    inputs = made.block.before_mixer(X)
    held = variables(made)
    call = functools.partial(jattn.mega_attention, mega=MEGA, attention=ATTENTION, variables=held, layout=LAYOUT)
    want = jax.jit(lambda x, stream: call(x, stream=stream))(inputs, X)
    np.testing.assert_allclose(got.out, made.block.after_mixer(want.out), atol=1e-5)
    np.testing.assert_allclose(got.stats.entropy, want.stats.entropy, atol=1e-5)
    assert got.state is None and got.stats.entropy.shape == (2, 3, 11, 1)


def test_without_a_stream_it_is_the_input():
    made = layer("none")
    held = variables(made)
    call = jax.jit(lambda x: jattn.mega_attention(x, MEGA, ATTENTION, variables=held, layout=LAYOUT).out)
    got = call(X)
    np.testing.assert_allclose(got, jax.jit(lambda x: made(x, layout=LAYOUT).out)(X), atol=1e-6)
    # one example alone
    np.testing.assert_allclose(call(X[1, 2]), got[1, 2], atol=1e-6)


def test_both_decode():
    made = layer("none")
    held, whole = variables(made), jax.jit(lambda x: made(x).out)(X[0])
    of_layer = jax.jit(lambda x, state: made(x, state=state))
    alone = jax.jit(lambda x, state: jattn.mega_attention(x, MEGA, ATTENTION, variables=held, state=state))
    ours, theirs = made.state(3, 11), jattn.mega_state(MEGA, ATTENTION, held, 6, 11, (3,))
    rows = []
    for cut in (slice(0, 6), slice(6, 11)):
        one, other = of_layer(X[0, :, cut], ours), alone(X[0, :, cut], theirs)
        np.testing.assert_allclose(one.out, other.out, atol=1e-6)
        ours, theirs = one.state, other.state
        rows.append(one.out)
    np.testing.assert_allclose(np.concatenate(rows, 1), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


ALONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("flax", "optax"):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Block())
import jax, jattn
mega = jattn.nn.Mega(shared=4)
dims, attention = mega.dims(6, 1, None), jattn.Attention(mask=jattn.masks.Causal())
held = mega.init(jax.random.key(0), dims), attention.init(jax.random.key(1), dims)
print(jattn.mega_attention(jax.numpy.ones((5, 6)), mega, attention, variables=held).out.shape)
"""


def test_the_function_needs_no_flax():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "(5, 6)", done.stderr
