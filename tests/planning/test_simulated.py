"""What simulated devices tell of chips: the optimizer's own exchanges against those of whole steps."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter

import jax
import pytest

from jattn.models.decoder import DecoderConfig
from jattn.planning import plan, roofline, simulated
from jattn.planning.chips import Topology
from jattn.planning.program import Collective, Program
from jattn.training.optimizers.muon import Muon
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from tests.support import needs_compiler

RUN = Run(model=DecoderConfig(width=16, depth=2, heads=2), optimizer=Muon(iterations=3), mesh=Mesh(1))


def test_products_of_newton_schulz_are_counted():
    # an iteration: x x^T, its square and one more with x, of four square matrices and two four times as wide a layer
    each = [2 * (16 * 16 * wide + 16**3 + 16 * 16 * wide) for wide in (16,) * 4 + (64,) * 2]
    found = simulated.optimizer(RUN)
    assert found.flops == 2 * 3 * sum(each) and not found.collectives


def test_a_plan_joins_formulas_with_what_was_compiled(monkeypatch):
    made = plan.estimate(RUN, "h100:8", Mesh(1, 2, 2, 2))
    own = Program(1e12, Counter({Collective("all-gather", ("fsdp",), 2, 4096): 3}), 0, 0.0)
    monkeypatch.setattr(plan, "plan", lambda run: dataclasses.replace(made, saved=2**20, temporaries=2**22))
    monkeypatch.setattr(simulated, "optimizer", lambda run: own)
    monkeypatch.setattr(jax, "devices", lambda: [None] * 8)
    found = simulated.simulate(RUN, "h100:8", Mesh(1, 2, 2, 2))
    assert (found.source, found.saved, found.temporaries) == ("simulated", 2**20, 2**22)
    assert found.peak == made.parameters + made.optimizer + 2**22
    assert sum(found.collectives.values()) == sum(made.collectives.values()) + 3
    assert found.flops == made.flops + 1e12 and found.times.memory == made.times.memory
    sent = roofline.communication(own.collectives, Topology.of("h100:8"))
    assert found.times.communication == pytest.approx(made.times.communication + sent)


def test_a_simulation_needs_the_devices_of_the_mesh():
    with pytest.raises(ValueError, match="compiles for the 8 devices of the mesh, got 1; set jax_num_cpu_devices"):
        simulated.simulate(RUN, "h100:8", Mesh(1, 2, 2, 2))


# bytes that a step of a model sends, by kind and axes: told as a simulation tells them, and read in what is compiled
SENT = """
import chex
chex.set_n_cpu_devices(8)
import json, sys
import jattn
from jattn.models.decoder import DecoderConfig
from jattn.planning import plan, roofline, simulated
from jattn.training.optimizers.adamw import AdamW
from jattn.training.optimizers.muon import Muon
from jattn.training.run import Run
from jattn.training.sharding import Mesh

sizes, optimizer, dtype, topology = json.loads(sys.argv[1])
model = DecoderConfig(
    width=128, depth=2, heads=8, vocabulary=512, attention=jattn.Attention(mask=jattn.masks.Causal())
)
run = Run(
    model=model, optimizer={"adamw": AdamW(), "muon": Muon()}[optimizer], batch=16, context=256, remat="block",
    dtype=dtype, mesh=Mesh(*sizes),
)
told = plan.estimate(run, "h100:8").collectives + simulated.optimizer(run).collectives
made = plan.plan(run, topology=topology).collectives
print(json.dumps([[[kind, *axes, size] for (kind, axes), size in roofline.sent(e).items()] for e in (told, made)]))
"""
MESHES = (8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2), (2, 2, 2, 1), (1, 2, 4, 1)


def sent(*told):
    done = subprocess.run([sys.executable, "-c", SENT, json.dumps(told)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def total(rows):
    # each of query, key and value sums the gradient of its input on a CPU, where chips add the three up first
    return sum(size for kind, *axes, size in rows if [kind, *axes] != ["all-reduce", "tensor"])


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(1, 2, 2, 2), (1, 8, 1, 1)], ids=str)
def test_exchanges_of_simulated_devices_are_told_to_5_percent(mesh):
    told, made = sent(mesh, "muon", "float32", None)
    assert total(told) == pytest.approx(total(made), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES, ids=str)
@pytest.mark.parametrize(("topology", "optimizer"), [("h100:8", "muon"), ("v5e:2x4", "adamw")])
def test_exchanges_of_chips_are_told_to_5_percent(mesh, topology, optimizer):
    needs_compiler(topology.partition(":")[0])
    told, made = sent(mesh, optimizer, "bfloat16", topology)
    assert sum(row[-1] for row in told) == pytest.approx(sum(row[-1] for row in made), rel=0.05)
