"""Plans a training step for devices that one does not have: by the compiler of their kind, or from shapes alone."""

import contextlib
import dataclasses
import math
import re
from collections import Counter
from typing import Literal

import jax

from jattn.benchmarks import compilers
from jattn.layers.axes import Axes
from jattn.mechanisms.linear import LinearAttention
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.planning import program, roofline, saved
from jattn.planning.chips import Topology
from jattn.planning.roofline import Times
from jattn.training import sharding, state
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step


@dataclasses.dataclass(frozen=True)
class Plan:
    """A step of a run on one device of a mesh; bytes are a device's own, `flops` its matrix products.

    `parameters`, `buffers` and `optimizer` are exact. Of a `compiled` step `peak` is what the compiler says it needs,
    exchanges are read in its HLO, and `saved` is what the forward pass keeps for the gradient. From `shapes` alone the
    rest is estimated, and there are neither `saved` nor `temporaries`, which are beside arguments; a step is
    `simulated` where those, and what the optimizer sends, come from simulated devices. `model_flops` are the products
    of all devices without what is computed again. Without a topology there is no time.
    """

    source: Literal["compiled", "simulated", "shapes"]
    mesh: dict[str, int]
    topology: str | None
    parameters: int
    buffers: int
    optimizer: int
    saved: int | None
    temporaries: int | None
    peak: int
    memory: int | None
    flops: float
    model_flops: float
    collectives: Counter
    times: Times | None

    @property
    def devices(self) -> int:
        """How many devices the mesh has."""
        return math.prod(self.mesh.values())

    @property
    def compiled(self) -> bool:
        """Whether a compiler made it for these devices."""
        return self.source == "compiled"

    @property
    def fits(self) -> bool | None:
        """Whether a chip's memory holds the step."""
        return None if self.memory is None else self.peak <= self.memory

    def share(self, seconds: float) -> float | None:
        """The share of all chips' peak that the model's own products are, in a step of so many seconds."""
        if self.topology is None:
            return None
        return self.model_flops / (self.devices * Topology.of(self.topology).chip.flops * seconds)


def plan(run: Run, mesh: Mesh | None = None, topology: str | None = None) -> Plan:
    """The run's step, on `mesh` if given, compiled for a topology such as v5e:16x16 or h100:8, or for devices at hand.

    Raises ValueError for a mesh that does not divide the run or a step that the chips cannot hold, and RuntimeError
    where this machine lacks the compiler.
    """
    run = run if mesh is None else dataclasses.replace(run, mesh=mesh)
    there = None if topology is None else Topology.of(topology)
    devices = jax.devices() if topology is None else compilers.devices(topology)
    with sharding.over(devices), compilers.uncached():
        sizes, axes = run.mesh.over(len(devices)), sharding.axes(run.mesh)
        shapes = state.shapes(run)
        with jax.set_mesh(axes.mesh) if axes else contextlib.nullcontext():
            lowered = training_step(run).lower(shapes, saved.batch(run, run.batch))
        made = _compiled(lowered, topology)
        kept = saved.saved(run)
    read = program.read(made.as_text(), sizes)
    # what data decide no text tells: the turns of loops over tiles, in which attention's products are; the chunks of
    # linear attention are counted
    products = read.flops
    if read.open_loops and not isinstance(run.model.attention, LinearAttention):
        products += roofline.attention_flops(run, sizes, devices[0].platform) - read.open_flops
    bytes_of = made.memory_analysis()
    arguments, results = bytes_of.argument_size_in_bytes, bytes_of.output_size_in_bytes
    temporaries = bytes_of.temp_size_in_bytes
    peak = max(bytes_of.peak_memory_in_bytes, arguments + results - bytes_of.alias_size_in_bytes + temporaries)
    moved = arguments + results + 2 * temporaries
    return Plan(
        "compiled",
        sizes,
        topology,
        *(held(getattr(shapes, name)) for name in ("params", "buffers", "optimizer_state")),
        kept,
        temporaries,
        peak,
        there and there.chip.memory,
        products,
        roofline.model_flops(run),
        read.collectives,
        there and roofline.times(products, moved, read.collectives, there),
    )


def estimate(run: Run, topology: str, mesh: Mesh | None = None) -> Plan:
    """The same from shapes alone, without any compiler; the state is exact, all else a roofline of plain blocks.

    Raises ValueError for a mesh that does not divide the run, and for an encoder-decoder.
    """
    there = Topology.of(topology)
    sizes = (run.mesh if mesh is None else mesh).over(there.count)
    # shapes are the same for any mesh
    run = dataclasses.replace(run, mesh=Mesh())
    axes = sharding.anywhere(sizes)
    check(run, axes)
    found, where = state.outline(run), state.placed(run, axes)
    trees = (getattr(found, name) for name in ("params", "buffers", "optimizer_state"))
    places = (getattr(where, name) for name in ("params", "buffers", "optimizer_state"))
    parts = [held(tree, place) for tree, place in zip(trees, places, strict=True)]
    activations = roofline.saved(run, sizes)
    # gradients take what params take
    peak = round(sum(parts) + parts[0] + activations)
    products, exchanges = roofline.flops(run, sizes, there.chip.platform), roofline.collectives(run, sizes)
    moved = 2 * (sum(parts) + parts[0] + activations)
    return Plan(
        "shapes",
        sizes,
        topology,
        *parts,
        None,
        None,
        peak,
        there.chip.memory,
        products,
        roofline.model_flops(run),
        exchanges,
        roofline.times(products, moved, exchanges, there),
    )


def check(run: Run, axes: Axes) -> None:
    """Refuses heads and tokens that the mesh does not divide, which else tracing would, and what has no roofline."""
    if isinstance(run.model, EncoderDecoderConfig):
        raise ValueError(
            "Shapes alone tell of models with one stack of blocks, got an encoder-decoder; let the compiler plan it, "
            "without --paper, --choose and --simulate."
        )
    dims = run.model.projection.dims(run.model.width, run.model.heads, run.model.depth)
    for name, what, size in (
        ("heads", "heads", dims.heads), ("heads", "key heads", dims.key_heads), ("time", "tokens", run.tokens),
    ):  # fmt: skip
        if size % (parts := axes.parts(name)):
            raise ValueError(
                f"The mesh splits {what} into {parts} parts, got {size}; use a multiple of {parts}, or fewer devices "
                f"on {' and '.join(axes.over(name))}."
            )


def held(tree: object, where: object = None) -> int:
    """Bytes of a tree of shapes on each device, exactly."""
    leaves = jax.tree.leaves(tree)
    places = [leaf.sharding for leaf in leaves] if where is None else jax.tree.leaves(where)
    pairs = zip(leaves, places, strict=True)
    return sum(math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, place in pairs)


def choose(run: Run, topology: str) -> Plan:
    """The estimate of the mesh whose step is the fastest by the roofline, of those whose step fits.

    Times that overlap count first, then their sum. Raises ValueError where none fits.
    """
    count, found, least = Topology.of(topology).count, [], None
    for tensor in _divisors(count):
        for context in _divisors(count // tensor):
            for fsdp in _divisors(count // tensor // context):
                mesh = Mesh(count // tensor // context // fsdp, fsdp, tensor, context)
                try:
                    made = estimate(run, topology, mesh)
                except ValueError:
                    # what does not divide
                    continue
                least = min(least or made.peak, made.peak)
                if made.fits:
                    found.append(made)
    if not found:
        raise ValueError(
            f"No mesh of {topology} holds this run's step, the least takes {least} bytes of a chip; use more chips, "
            f"--remat block, or a batch and a context that more chips divide."
        )
    return min(found, key=lambda each: (round(each.times.overlapped, 6), each.times.one_by_one))


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _compiled(lowered: jax.stages.Lowered, topology: str | None) -> jax.stages.Compiled:
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w)", str(error))
        got = f"{used[1]} of {used[2]}" if used else "more"
        raise ValueError(
            f"A step must fit in the memory of a chip, got {got} on {topology}; split more by --mesh.fsdp, or use "
            f"--remat block or --accumulate."
        ) from None
