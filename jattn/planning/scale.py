"""Draws what `docs/scale.md` shows: a step of a billion parameters from one chip to 4096, by axis and at its best.

`python -m jattn.planning.scale FOLDER` writes the pictures and prints the tables; nothing is compiled.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jattn.planning import plan, roofline
from jattn.planning.plan import Plan
from jattn.training.presets import preset
from jattn.training.run import Run
from jattn.training.sharding import Mesh

# 4 million tokens a step, as many as such models are trained with
BATCH, CONTEXT = 512, 8192
SHAPES = ("1x1x1", "2x1x1", "2x2x1", "2x2x2", "4x2x2", "4x4x2", "4x4x4", "8x4x4", "8x8x4", "8x8x8", "16x8x8", "16x16x8",
          "16x16x16")  # fmt: skip
AXES = ("data", "fsdp", "tensor", "context")


def run_on(count: int) -> Run:
    """The run in as many pieces as leave a chip two examples at once, or whole."""
    whole = dataclasses.replace(preset("billion"), batch=BATCH, context=CONTEXT)
    return dataclasses.replace(whole, accumulate=max(1, BATCH // 2 // count))


def best() -> list[Plan]:
    """The plan of the fastest mesh of each slice of v5p."""
    found = []
    for shape in SHAPES:
        topology = f"v5p:{shape}"
        found.append(plan.choose(run_on(plan.Topology.of(topology).count), topology))
    return found


def alone(axis: str) -> Iterator[Plan]:
    """The plans where one axis has all chips, as far as it divides the run."""
    for shape in SHAPES:
        topology = f"v5p:{shape}"
        count = plan.Topology.of(topology).count
        sizes = dict.fromkeys(AXES, 1) | {axis: count}
        try:
            yield plan.estimate(run_on(count), topology, Mesh(**sizes))
        except ValueError:
            # from here on the axis has more chips than there is to split
            return


def table(plans: list[Plan]) -> str:
    """A row for each slice: its mesh, memory of a chip, what a chip exchanges, and time."""
    head = ("chips", f"{' x '.join(AXES)}", "state, GiB", "a step needs, GiB", "exchanged, GiB", "products, ms",
            "exchanges, ms", "share of peak")  # fmt: skip
    rows = [head, ("---",) * len(head)]
    for each in plans:
        share = (f"{each.share(time):.0%}" for time in (each.times.overlapped, each.times.one_by_one))
        sent = sum(roofline.sent(each.collectives).values())
        rows.append(
            (
                str(each.devices),
                " x ".join(str(each.mesh[axis]) for axis in AXES),
                *(f"{size / 2**30:.2f}" for size in (each.parameters + each.optimizer, each.peak, sent)),
                *(f"{1e3 * time:.0f}" for time in (each.times.compute, each.times.communication)),
                " to ".join(share),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shares(plans: list[Plan]) -> Figure:
    """The share of peak against chips, of each axis alone and of the best mesh."""
    figure, drawn = _drawn("share of peak, where all overlaps")
    for axis in AXES:
        _line(drawn, axis, [(each.devices, each.share(each.times.overlapped)) for each in alone(axis)])
    _line(drawn, "the best mesh", [(each.devices, each.share(each.times.overlapped)) for each in plans])
    drawn.set_ylim(0, 1)
    drawn.legend()
    return figure


def memory(plans: list[Plan]) -> Figure:
    """Memory of a chip of the best mesh: the state, which is exact, and what a step needs, an estimate."""
    figure, drawn = _drawn("GiB a chip")
    for name, sizes in (
        ("parameters", [each.parameters for each in plans]),
        ("optimizer", [each.optimizer for each in plans]),
        ("a step", [each.peak for each in plans]),
        ("a v5p has", [each.memory for each in plans]),
    ):
        _line(drawn, name, [(each.devices, size / 2**30) for each, size in zip(plans, sizes, strict=True)])
    drawn.set_yscale("log")
    drawn.legend()
    return figure


def _drawn(upwards: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    drawn = figure.subplots()
    drawn.set(xlabel="v5p chips", ylabel=upwards)
    drawn.set_xscale("log", base=2)
    drawn.grid(alpha=0.3)
    return figure, drawn


def _line(drawn: Axes, name: str, points: list[tuple[int, float]]) -> None:
    drawn.plot(*zip(*points, strict=True), "o-", markersize=3, linewidth=1, label=name)


def main(folder: str) -> None:
    """Writes the pictures and prints the table."""
    plans = best()
    for name, figure in (("shares", shares(plans)), ("memory", memory(plans))):
        figure.savefig(Path(folder) / f"scale_{name}.png", dpi=100)
    print(table(plans))


if __name__ == "__main__":
    main(sys.argv[1])
