"""A ring of devices gives what one device does: values, statistics, every gradient, and nothing gathered."""

import json
import subprocess
import sys

import pytest

SPLIT = """
import chex
chex.set_n_cpu_devices(8)
import contextlib, dataclasses, json, sys
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jattn import Attention, Layout, Variables
from jattn.engines import tiles, visits
from jattn.masks import Causal, Window
from jattn.normalizers import Entmax, Laplace, NullSlot, OffByOne, Relaxed, Sigmoid, SignedSoftmax, SquaredRelu, TopK
from jattn.part import Rng
from jattn.scores import Forgetting, PerVisible, RelativeBias, SoftCap, T5Bias

jax.config.update("jax_enable_x64", True)
# tiles that no length here is a multiple of
sizes = tiles.SIZES["cpu"]
tiles.SIZES["cpu"] = sizes._replace(side=5, pairs=2 * 25, slim_pairs=25, block=5, fine_side=0)
visits.STEERED_FROM = 8
# four devices have halves of 9, two have halves of 18
tokens, heads = 72, 4
random = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape))
query, key, value, x = draw(2, tokens, heads, 8), draw(2, tokens, 2, 8), draw(2, tokens, 2, 5), draw(2, tokens, 6)
weights = draw(2, tokens, heads, 5), draw(2, tokens, heads), draw(2, tokens, heads), draw(2, tokens, heads)
causal = Causal()
data = {
    # across the borders of shards, and of the second example three shards that hold nothing
    "segments": jnp.repeat(jnp.arange(3), 24),
    "valid": jnp.array([55, 7]),
    "mask": jnp.asarray(random.random((1, tokens, tokens)) < 0.7),
}
CASES = {
    "causal": (Attention(mask=causal), {}),
    "all of it": (
        Attention((T5Bias(), SoftCap(5.0)), causal & Window(left=(3, 70, 9, 60)), OffByOne(), dropout=0.2),
        {**data, "bias": draw(heads, tokens, tokens)},
    ),
    "fewer keys": (Attention(mask=Causal(align="last"), dropout=0.2), {"valid": (None, jnp.array([30, 40]))}, 40),
    "rows": (Attention(mask=causal), {"valid": jnp.asarray(random.random((2, tokens)) < 0.6)}),
    "one bias for all keys": (Attention(mask=causal), {"bias": draw(1, tokens, 1)}),
    "free": (Attention(normalizer=Sigmoid()), {}),
    "laplace": (Attention((PerVisible(), RelativeBias(72)), causal, Laplace(), scale=1.0), {}),
    "squared relu": (Attention(mask=causal, normalizer=SquaredRelu()), {}),
    "null slot": (Attention(mask=causal, normalizer=NullSlot()), {}),
    "relaxed": (Attention(normalizer=Relaxed()), {}),
    "signed": (Attention(mask=causal, normalizer=SignedSoftmax()), {}),
    "entmax": (Attention(mask=causal, normalizer=Entmax()), {}),
    "top": (Attention(mask=causal, normalizer=TopK(3)), {}),
    "forgetting": (Attention(Forgetting(), causal), {}),
}
rng = Rng(*(jax.random.key(n) for n in (1, 2)), jax.random.split(jax.random.key(3)))


def place(name, array):
    if isinstance(array, tuple):
        return tuple(place(name, each) for each in array)
    if array is None or name == "valid" and array.dtype != bool:
        return P()
    if name in ("mask", "bias"):
        return P(None, "context")
    return P(None, "context") if array.ndim > 1 else P("context")


def loss_and_gradients(devices, way, attention, given, keys=tokens):
    params, buffers = attention.init(jax.random.key(0), jattn.Dims.of(query, key, value, model_width=6))
    params = jax.tree.map(lambda leaf: leaf.astype(float) + 0.3 * draw(*leaf.shape), params)
    kind = AxisType.Explicit if way == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((devices,), ("context",), axis_types=(kind,), devices=jax.devices()[:devices])
    here = dataclasses.replace(attention, context_axis="context")

    def run(attention, params, query, key, value, extra, given):
        layout = Layout(**given, extra=extra)
        found = jattn.attend(
            query, key, value, attention, variables=Variables(params, buffers), layout=layout,
            rng=rng if attention.dropout else None,
        )
        return found.out, found.stats[:4]

    def loss(smooth, split):
        *arrays, x, bias = smooth
        extra = jax.vmap(lambda x: attention.project(attention.own(Variables(smooth[0], buffers)), x))(x)
        held = given if bias is None else given | {"bias": bias}
        call = lambda *a: run(attention, *a)
        if split:
            call, t = lambda *a: run(here, *a), P(None, "context")
            places = P(), t, t, t, t, {name: place(name, array) for name, array in held.items()}
            if way.startswith("in a shard_map"):
                call = jax.shard_map(
                    call, mesh=mesh, in_specs=places, out_specs=(t, t), check_vma=way != "in a shard_map, unchecked"
                )
        out, stats = call(*arrays, extra, held)
        finite = [jnp.where(jnp.isfinite(s), s, 0) for s in stats[:3]]
        return sum((a * w).sum() for a, w in zip((out, *finite), weights)), (out, *finite, stats[3])

    smooth = params, query, key[:, :keys], value[:, :keys], x, given.get("bias")
    lie = lambda array: jax.device_put(array, NamedSharding(mesh, P(None, "context")))
    lying = params, *map(lie, smooth[1:5]), smooth[5]
    run_loss = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    whole = run_loss(smooth, False)
    with jax.set_mesh(mesh) if way in ("auto", "explicit") else contextlib.nullcontext():
        compiled = run_loss.lower(lying, True).compile()
        split = compiled(lying)
    off = jax.tree.map(lambda a, b: float(np.abs(np.subtract(a, b)).max(initial=0)), *jax.device_get((whole, split)))
    text = compiled.as_text()
    return max(jax.tree.leaves(off)), *(text.count(f" {name}(") for name in ("collective-permute", "all-gather"))


print(json.dumps([loss_and_gradients(n, way, *CASES[name]) for name, n, way in json.loads(sys.argv[1])]))
"""


def split(cases):
    command = [sys.executable, "-c", SPLIT, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


RINGS = [
    "causal", "all of it", "fewer keys", "rows", "one bias for all keys", "free", "laplace", "squared relu",
    "null slot", "relaxed", "signed",
]  # fmt: skip
GATHERS = ["entmax", "top", "forgetting"]


WAYS = ["in a shard_map", "in a shard_map, unchecked", "auto", "explicit"]


@pytest.mark.parametrize(
    "cases",
    [
        [("all of it", 4, "in a shard_map"), ("fewer keys", 4, "explicit")],
        pytest.param([("top", 2, "auto")], marks=pytest.mark.slow),
        *(
            pytest.param([(name, 4, way) for way in WAYS], marks=pytest.mark.slow, id=name)
            for name in [*RINGS, *GATHERS]
        ),
        pytest.param([("all of it", 2, "auto"), ("free", 1, "explicit")], marks=pytest.mark.slow),
    ],
)
def test_a_ring_is_one_device(cases):
    for (name, devices, _), (off, permuted, gathered) in zip(cases, split(cases), strict=True):
        assert off < 1e-11, (name, off)
        if devices > 1:
            assert (permuted > 0, gathered > 0) == ((True, False) if name in RINGS else (False, True)), name


MEMORY = """
import chex
chex.set_n_cpu_devices(8)
import jax, json
import jax.numpy as jnp
import jattn
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jattn.benchmarks.turns import temporary_bytes

found = []
for devices in (1, 2, 4, 8):
    mesh = jax.make_mesh((devices,), ("context",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    attention = jattn.Attention(mask=jattn.masks.Causal(), context_axis="context")
    call = jax.shard_map(
        lambda *qkv: jattn.attend(*qkv, attention).out, mesh=mesh, in_specs=P("context"), out_specs=P("context"),
        check_vma=False,
    )
    x = jax.ShapeDtypeStruct((65536, 8, 64), jnp.float32, sharding=NamedSharding(mesh, P("context")))
    made = [
        jax.jit(call).lower(x, x, x).compile(),
        jax.jit(lambda q, k, v, g: jax.vjp(call, q, k, v)[1](g)).lower(x, x, x, x).compile(),
    ]
    assert not any(" all-gather(" in each.as_text() for each in made)
    found.append([temporary_bytes(each) for each in made])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_memory_falls_with_the_devices():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # one device has no ring: beside its own keys two hold those under way, with their gradients
    for sizes in zip(*found[1:], strict=True):
        assert all(more >= 1.8 * less for more, less in zip(sizes, sizes[1:], strict=False)), found
