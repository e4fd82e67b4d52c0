"""Plans a step for chips whose compiler is not here, with what as many simulated devices tell.

The same partitioner splits a program for every chip: what it makes an optimizer's update send is read in the update
compiled for CPU, beside the formulas of what the model sends. Memory is that of the whole step compiled for CPU.
"""

import contextlib
import dataclasses

import jax

from jattn.benchmarks import compilers
from jattn.planning import plan, program, roofline
from jattn.planning.chips import Topology
from jattn.planning.plan import Plan
from jattn.planning.program import Program
from jattn.planning.roofline import Times
from jattn.training import sharding, state
from jattn.training.run import Run
from jattn.training.sharding import Mesh

# XLA's CPU client numbers no more devices in one process
MOST = 2048


def simulate(run: Run, topology: str, mesh: Mesh | None = None) -> Plan:
    """`plan.estimate` with temporaries, what is saved for the gradient, and the optimizer's own products and exchanges.

    Raises ValueError where this machine has less devices than the mesh, which `jax_num_cpu_devices` simulates.
    """
    made = plan.estimate(run, topology, mesh)
    if (count := len(jax.devices())) < made.devices:
        raise ValueError(
            f"A simulation compiles for the {made.devices} devices of the mesh, got {count}; set jax_num_cpu_devices "
            f"before the first computation, or use jattn plan --simulate."
        )
    run = dataclasses.replace(run, mesh=Mesh(**made.mesh))
    here, own, there = plan.plan(run), optimizer(run), Topology.of(topology)
    products, exchanges = made.flops + own.flops, made.collectives + own.collectives
    seconds = Times(products / there.chip.flops, made.times.memory, roofline.communication(exchanges, there))
    return dataclasses.replace(
        made,
        source="simulated",
        saved=here.saved,
        temporaries=here.temporaries,
        peak=made.parameters + made.buffers + made.optimizer + here.temporaries,
        flops=products,
        collectives=exchanges,
        times=seconds,
    )


def optimizer(run: Run) -> Program:
    """What the optimizer's update alone computes and sends on each device of the run's mesh."""
    axes, shapes = sharding.axes(run.mesh), state.shapes(run)
    places = jax.tree.map(lambda x: x.sharding, (shapes.params, shapes.optimizer_state))
    update = jax.jit(run.optimizer.transformation(run.steps).update, out_shardings=places)
    with jax.set_mesh(axes.mesh) if axes else contextlib.nullcontext(), compilers.uncached():
        made = update.lower(shapes.params, shapes.optimizer_state, shapes.params).compile()
    return program.read(made.as_text(), dict(axes.mesh.shape) if axes else {})
