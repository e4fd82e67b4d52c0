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
from jattn import Dims, Recurrence, Variables
from jattn.engines import recurrent, recurrent_steady
from jattn.part import part
from jattn.transitions import S4D, DampedEma, Diagonal, Transition
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_enable_x64", True)
# chunks that no length here is a multiple of
recurrent_steady.CHUNKS, recurrent.STEPS, recurrent.FEW = ((72, 5),), 5, 0
tokens, channels, random = 72, 3, np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(random.normal(size=shape))
x, weights = draw(2, tokens, channels), draw(2, tokens, channels)


@part
class Moving(Transition):
    def params(self, rng, dims):
        return {"rate": jax.random.normal(rng, (channels, 2))}

    def diagonal(self, own, x):
        step = jax.nn.softplus(x)[..., None]
        decay = -step * jnp.exp(own["rate"])[None]
        return Diagonal(decay, jnp.sin(step) * own["rate"][None], step + 0j * decay, 1 + 0 * decay + 1j)


# a segment of three devices, borders of segments on and off those of devices, a number that comes back
segments = jnp.asarray(np.repeat([3, 0, 3, 1], [7, 2, 45, 18]))
valid = random.random((2, tokens)) < 0.7
CASES = {
    "one way": (Recurrence(DampedEma(4)), {}),
    "both ways": (Recurrence(S4D(2), DampedEma(3), center="once"), {"valid": jnp.asarray(valid), "segments": segments}),
    # two devices before each are in reach, and of eight all
    "truncated": (Recurrence(S4D(2), DampedEma(3), truncation=30), {"valid": jnp.asarray(valid)}),
    "all in reach": (Recurrence(DampedEma(3), truncation=71), {}),
    "moving": (Recurrence(Moving(), Moving()), {"valid": jnp.array([55, 7])}),
}


def found(devices, way, recurrence, given):
    kind = AxisType.Explicit if way == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((devices,), ("context",), axis_types=(kind,), devices=jax.devices()[:devices])
    here = dataclasses.replace(recurrence, context_axis="context")
    made, buffers = recurrence.init(jax.random.key(0), Dims(1, 1, 1, channels, channels, model_width=channels))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), made)

    def loss(params, x, split):
        call = lambda params, x, given: jattn.recur(
            x, here if split else recurrence, variables=Variables(params, buffers), **given
        ).out
        if split and way == "in a shard_map":
            t = P(None, "context")
            over = {
                name: t if leaf.ndim == 2 else P("context") if name == "segments" else P()
                for name, leaf in given.items()
            }
            call = jax.shard_map(call, mesh=mesh, in_specs=(P(), t, over), out_specs=t)
        out = call(params, x, given)
        return (out * weights).sum(), out

    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), static_argnums=2)
    whole = run(params, x, False)
    lying = jax.device_put(x, NamedSharding(mesh, P(None, "context")))
    with contextlib.nullcontext() if way == "in a shard_map" else jax.set_mesh(mesh):
        compiled = run.lower(params, lying, True).compile()
        split = compiled(params, lying)
    off = jax.tree.map(lambda a, b: float(np.abs(np.subtract(a, b)).max()), *jax.device_get((whole, split)))
    text = compiled.as_text()
    return max(jax.tree.leaves(off)), *(text.count(f" {name}(") for name in ("collective-permute", "all-gather"))


print(json.dumps([found(n, way, *CASES[name]) for name, n, way in json.loads(sys.argv[1])]))
"""
WAYS = ["in a shard_map", "auto", "explicit"]


@pytest.mark.parametrize(
    "cases",
    [
        [("both ways", 4, "explicit")],
        pytest.param([("one way", 8, way) for way in WAYS], marks=pytest.mark.slow),
        pytest.param(
            [("truncated", 4, "in a shard_map"), ("truncated", 3, "auto"), ("all in reach", 8, "explicit")],
            marks=pytest.mark.slow,
        ),
        pytest.param([("both ways", 3, "in a shard_map"), ("both ways", 8, "auto")], marks=pytest.mark.slow),
        pytest.param([("moving", n, way) for n, way in zip((3, 4, 8), WAYS, strict=True)], marks=pytest.mark.slow),
    ],
)
def test_devices_are_one(cases):
    command = [sys.executable, "-c", SPLIT, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    for case, (off, permuted, gathered) in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        # float64: orders of summation differ
        assert off < 1e-12 and permuted and not gathered, (case, off, permuted, gathered)
