"""Attention split by examples, heads and tokens is that of one device; what no mesh splits is refused."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from jattn.layers.axes import Axes
from jattn.layers.flow import Flow
from jattn.layers.split import attend
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.delta import DeltaAttention
from jattn.part import Rng, Variables

NOTHING = Variables({}, {})
AXES = Axes(AbstractMesh((2, 2, 2), ("a", "b", "c")), (("batch", ("a",)), ("heads", ("b",)), ("time", ("c",))))
KEY = jax.random.key(0)


def call(flow, batch=2, tokens=8, heads=4, attention=Attention()):
    x = jax.random.normal(KEY, (batch, tokens, heads, 4))
    layout = Layout(head=(np.arange(heads), heads, heads))
    return attend(x, x, x, attention, variables=NOTHING, layout=layout, flow=flow)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"batch": 3}, "The mesh splits examples into 2 parts, by a, got 3; use a multiple of 2"),
        ({"heads": 3}, "The mesh splits heads into 2 parts, by b, got 3; use a multiple of 2"),
        ({"tokens": 7}, "The mesh splits tokens into 2 parts, by c, got 7; use a multiple of 2"),
    ],
)
def test_what_the_mesh_does_not_divide_is_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        call(Flow(axes=AXES), **sizes)


def test_a_decoding_state_is_refused():
    with pytest.raises(ValueError, match="A mesh splits no decoding state"):
        call(Flow(axes=AXES, state=jnp.zeros(2)))


def test_tokens_of_an_attention_that_no_mesh_splits_are_refused():
    with pytest.raises(ValueError, match="attention has a context_axis, got DeltaAttention, which has none"):
        call(Flow(axes=AXES), attention=DeltaAttention())


def test_one_key_for_all_examples_is_refused():
    with pytest.raises(TypeError, match="each example needs a key of its own"):
        call(Flow(axes=AXES, rng=KEY))


SPLIT = """
import chex
chex.set_n_cpu_devices(8)
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jax.sharding import AxisType
from jattn.layers.axes import Axes
from jattn.layers.flow import Flow
from jattn.layers.split import attend
from jattn.part import Rng

mesh = jax.make_mesh((2, 2, 2), ("a", "b", "c"), axis_types=(AxisType.Auto,) * 3)
axes = Axes(mesh, (("batch", ("a",)), ("heads", ("b",)), ("time", ("c",))))
random = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
query, key, value = draw(4, 12, 4, 8), draw(4, 12, 2, 8), draw(4, 12, 2, 5)
rng = Rng(jax.random.key(1), jax.random.key(2), jax.random.split(jax.random.key(3), 4))
# the mask reads every number of a pair, the example's too
attention = jattn.Attention(
    mask=lambda batch, head, query, key: (query >= key) & ((batch + 2 * head + 3 * query + key) % 5 != 0), dropout=0.3
)
head = np.arange(4), 4, 2
whole = random.random((4, 1, 12, 12)) < 0.8
layouts = [
    jattn.Layout(head=head),
    jattn.Layout(segments=jnp.arange(12) // 5, mask=jnp.asarray(whole), head=head),
    jattn.Layout(segments=jnp.asarray(random.integers(0, 2, (4, 12))), valid=jnp.array([12, 3, 0, 7]), head=head),
    jattn.Layout(bias=draw(4, 4, 1, 12), valid=jnp.asarray(random.random((4, 12)) < 0.7), head=head),
    jattn.Layout(
        bias=draw(4, 12, 1), positions=jnp.arange(12)[::-1], valid=jnp.asarray(random.random(12) < 0.7), head=head
    ),
]
for layout in layouts:
    def loss(qkv, flow):
        found = attend(*qkv, attention, variables=jattn.Variables({}, {}), layout=layout, flow=flow)
        return (found.out**2).sum() + found.stats.entropy.sum(), (found.out, found.stats.entropy, found.stats.visible)

    one, split = (
        jax.jit(jax.value_and_grad(lambda qkv, flow=flow: loss(qkv, flow), has_aux=True))((query, key, value))
        for flow in (Flow(rng=rng), Flow(rng=rng, axes=axes))
    )
    assert len(split[0][1][0].sharding.device_set) == 8
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), one, split)
print("equal")
"""


@pytest.mark.slow
def test_every_kind_of_data_is_split_where_it_belongs():
    done = subprocess.run([sys.executable, "-c", SPLIT], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def test_keys_of_examples_are_taken_without_a_mesh():
    found = call(Flow(rng=Rng(KEY, KEY, jax.random.split(KEY, 2))))
    assert found.out.shape == (2, 8, 4, 4)
