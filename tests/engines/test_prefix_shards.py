"""Tokens over several devices: values and gradients of one device, and nothing gathered."""

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
from jattn import Layout, LinearAttention
from jattn.decays import Retention
from jattn.engines import prefix

jax.config.update("jax_enable_x64", True)
# chunks that no length here is a multiple of
prefix.CHUNK = 5
tokens, random = 72, np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape))
data = draw(2, tokens, 4, 8), draw(2, tokens, 2, 8), draw(2, tokens, 2, 5)
weights = draw(2, tokens, 4, 5)
# a segment of three devices, borders of segments on and off those of devices, a number that comes back
segments = jnp.asarray(np.repeat([3, 0, 3, 1], [7, 2, 45, 18]))
CASES = {
    "all of it": (LinearAttention(decay=Retention()), {"segments": segments, "valid": jnp.array([55, 7])}),
    "plain": (LinearAttention(), {}),
    "full": (LinearAttention(order="full"), {"valid": jnp.asarray(random.random((2, tokens)) < 0.6)}),
}


def found(devices, way, attention, given):
    kind = AxisType.Explicit if way == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((devices,), ("context",), axis_types=(kind,), devices=jax.devices()[:devices])
    here = dataclasses.replace(attention, context_axis="context")
    t = P(None, "context")

    def run(attention, given, *data):
        found = jattn.attend(*data, attention, layout=Layout(**given))
        return found.out, found.stats.visible

    def loss(data, split):
        call = lambda given, *data: run(here if split else attention, given, *data)
        if split and way == "in a shard_map":
            over = {
                name: P() if name == "valid" and x.dtype != bool else P("context") if x.ndim == 1 else t
                for name, x in given.items()
            }
            call = jax.shard_map(call, mesh=mesh, in_specs=(over, t, t, t), out_specs=(t, t))
        out, visible = call(given, *data)
        return (out * weights).sum(), (out, visible)

    run_loss = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    whole = run_loss(data, False)
    lying = tuple(jax.device_put(x, NamedSharding(mesh, t)) for x in data)
    with contextlib.nullcontext() if way == "in a shard_map" else jax.set_mesh(mesh):
        compiled = run_loss.lower(lying, True).compile()
        split = compiled(lying)
    off = jax.tree.map(lambda a, b: float(np.abs(np.subtract(a, b)).max()), *jax.device_get((whole, split)))
    text = compiled.as_text()
    return max(jax.tree.leaves(off)), *(text.count(f" {name}(") for name in ("collective-permute", "all-gather"))


print(json.dumps([found(n, way, *CASES[name]) for name, n, way in json.loads(sys.argv[1])]))
"""
WAYS = ["in a shard_map", "auto", "explicit"]


@pytest.mark.parametrize(
    "cases",
    [
        [("all of it", 4, "explicit")],
        *(
            pytest.param([(name, n, way) for way in WAYS for n in (3, 8)], marks=pytest.mark.slow, id=name)
            for name in ("all of it", "plain", "full")
        ),
    ],
)
def test_devices_are_one(cases):
    command = [sys.executable, "-c", SPLIT, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    for case, (off, permuted, gathered) in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        # float64: orders of summation differ
        assert off < 1e-12 and permuted and not gathered, (case, off, permuted, gathered)
