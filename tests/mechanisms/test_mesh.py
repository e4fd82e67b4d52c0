"""A plain call on a mesh is that of one device, wherever its arrays lie; what no mesh serves is one sentence."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jattn
from jattn.mechanisms import mesh

PLACED = """
import chex
chex.set_n_cpu_devices(8)
import sys
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_enable_x64", True)
auto, explicit = AxisType.Auto, AxisType.Explicit
random = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape))
# the mask reads every number of a pair, the example's too
seen = lambda batch, head, query, key: (query >= key) & ((batch + 2 * head + 3 * query + key) % 5 != 0)


def call(qkv, context_axis, rng, layout):
    attention = jattn.Attention(mask=seen, dropout=0.3, implementation=implementation, context_axis=context_axis)
    found = jattn.attend(*qkv, attention, rng=rng, layout=layout)
    return (found.out**2).sum() + found.stats.entropy.sum(), (found.out, found.stats)


def compare(kinds, lead, places, layout, rng):
    shapes = (*lead, 12, 4, 8), (*lead, 12, 2, 8), (*lead, 12, 2, 5)
    qkv = tuple(draw(*shape) for shape in shapes)
    mesh = jax.make_mesh((2, 2, 2), ("a", "b", "c"), axis_types=kinds)
    compiled = jax.jit(jax.value_and_grad(call, has_aux=True), static_argnums=1)
    one = compiled(qkv, None, rng, layout)
    with jax.set_mesh(mesh):
        lying = tuple(jax.device_put(x, NamedSharding(mesh, place)) for x, place in zip(qkv, places))
        here = compiled(lying, "c", rng, layout)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), *jax.device_get((one, here)))
    return here[0][1][0].sharding.spec


key = jax.random.key(1)
data = jattn.Layout(
    segments=np.arange(12) // 5, valid=jnp.array([12, 3, 0, 7]), mask=random.random((4, 1, 1, 12)) < 0.8,
    bias=draw(4, 12, 1),
)
for implementation in sys.argv[1:]:
    everywhere = P("a", "c", "b")
    found = compare((explicit,) * 3, (4,), (everywhere,) * 3, data, key)
    assert found == P("a", "c", "b", None), found
    keys = jattn.part.Rng(key, key, jax.random.split(key, 12))
    found = compare((explicit,) * 3, (2, 6), (P("a", "b", "c"), P(), P(None, "a")), jattn.Layout(), keys)
    assert found == P("a", "b", "c", None, None), found
    compare((auto, explicit, auto), (), (P("c", "b"),) * 3, jattn.Layout(positions=jnp.arange(12)[::-1]), key)
    compare((explicit, auto, explicit), (4,), (P(),) * 3, jattn.Layout(), None)


def seen_by(qkv, context_axis):
    attention = jattn.LinearAttention(jattn.features.LogNormal(), context_axis=context_axis)
    variables = attention.init(key, jattn.Dims.of(*qkv))
    valid = jnp.array([12, 3, 0, 7])
    return jattn.attend(*qkv, attention, variables=variables, layout=jattn.Layout(valid=valid)).stats.observed


# each device has some of the examples, heads and tokens
qkv = draw(4, 12, 4, 8), draw(4, 12, 2, 8), draw(4, 12, 2, 5)
want = seen_by(qkv, None)["feature"]
assert want["query"][0] == 22 * 4 * 8 and want["key"][0] == 22 * 2 * 8
mesh = jax.make_mesh((2, 2, 2), ("a", "b", "c"), axis_types=(explicit,) * 3)
with jax.set_mesh(mesh):
    found = seen_by([jax.device_put(x, NamedSharding(mesh, everywhere)) for x in qkv], "c")["feature"]
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), *jax.device_get((want, found)))
print("equal")
"""


@pytest.mark.parametrize("implementation", ["dense", pytest.param("tiled", marks=pytest.mark.slow)])
def test_a_call_is_that_of_one_device_wherever_its_arrays_lie(implementation):
    done = subprocess.run([sys.executable, "-c", PLACED, implementation], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def on_a_mesh(call, kind, place=PartitionSpec(), names=("a", "c"), tokens=8):
    """Traces a call of three arrays on a mesh of four devices, which need not be there."""
    four = jax.sharding.AbstractMesh((2, 2), names, axis_types=(kind,) * 2)
    with jax.sharding.use_abstract_mesh(four):
        sharding = jax.sharding.NamedSharding(four, place)
        x = jax.ShapeDtypeStruct((2, tokens, 4, 8), jnp.float32, sharding=sharding)
        return jax.eval_shape(call, x, x, x)


def attend(*qkv, **options):
    return jattn.attend(*qkv, jattn.Attention(context_axis="c", **options)).out


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_what_the_mesh_does_not_divide_or_have_is_refused(kind):
    with pytest.raises(ValueError, match="The mesh splits tokens into 2 parts, by c, got 7; use a multiple of 2"):
        on_a_mesh(attend, kind, tokens=7)
    with pytest.raises(ValueError, match="names an axis of the mesh, got 'c' and a mesh of the axes \\['a', 'b'\\]"):
        on_a_mesh(attend, kind, names=("a", "b"))


def test_without_a_mesh_there_is_no_axis():
    x = jnp.ones((2, 8, 4, 8))
    with pytest.raises(ValueError, match="got 'c' and a mesh of the axes \\[\\]; call inside jax.set_mesh"):
        attend(x, x, x)


def test_tokens_over_another_axis_are_refused():
    with pytest.raises(ValueError, match="Tokens are split over .* got \\['a'\\] and context_axis='c'; name that axis"):
        on_a_mesh(attend, AxisType.Explicit, PartitionSpec(None, "a"))


def test_a_function_that_closes_over_an_array_of_an_explicit_mesh_is_refused():
    def call(q, k, v):
        slope = q[0, 0, 0, 0]
        return attend(q, k, v, score=lambda logit, batch, head, query, key: logit - slope)

    assert on_a_mesh(call, AxisType.Auto).shape == (2, 8, 4, 8)
    with pytest.raises(ValueError, match="closes over no array of a mesh with Explicit axes, got 1 and"):
        on_a_mesh(call, AxisType.Explicit)


def test_no_second_shard_map_is_entered_where_the_first_checks():
    def within(check):
        return lambda *qkv: jax.shard_map(
            attend, in_specs=PartitionSpec("a"), out_specs=PartitionSpec("a"), axis_names={"a"}, check_vma=check
        )(*qkv)

    assert on_a_mesh(within(False), AxisType.Auto).shape == (2, 8, 4, 8)
    with pytest.raises(ValueError, match="enters no second one, got \\['a'\\] of the first; give that one all axes"):
        on_a_mesh(within(True), AxisType.Auto)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_second_plain_call_compiles_nothing_anew(kind):
    q, k, v = (jnp.asarray(np.random.default_rng(n).normal(size=(2, 8, 4, 8)), jnp.float32) for n in range(3))
    first, second = jnp.arange(4.0), jnp.ones(4)

    def call(table):
        # the function is another one each time, and closes over an array
        attention = jattn.Attention(score=lambda logit, batch, head, query, key: logit * table[head], context_axis="c")
        return jattn.attend(q, k, v, attention, layout=jattn.Layout(segments=np.arange(8) // 5)).out

    with jax.set_mesh(jax.make_mesh((1,), ("c",), axis_types=(kind,))):
        call(first)
        compiled = mesh._split._cache_size()
        found = call(second)
        assert mesh._split._cache_size() == compiled
    want = jattn.attend(q, k, v, layout=jattn.Layout(segments=np.arange(8) // 5)).out
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_split_there_is_nothing_to_cut():
    assert mesh.cut_of(jnp.ones((2, 8, 4, 8)), None) is None
