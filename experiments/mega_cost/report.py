"""What was measured as a verdict by rules that came before it, tables by length, and a picture.

python experiments/mega_cost/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, measures, reports
from jattn.training.sweeps.measures import Measured
from jattn.training.sweeps.reports import Verdict, row

HERE = Path(__file__).parent
MEASURE = listed.executed(HERE / "measure.py")
load = measures.load
WHOLE, TILES, MEGA_WHOLE, MEGA, CHUNK = MEASURE.ARMS
TIMED, COMPILED, CHIP = [length for length, *_ in MEASURE.FULL.timed], MEASURE.FULL.compiled, MEASURE.FULL.chip
# the paper compares at 4096 tokens; for one doubling 2, and what tails and noise may add
AT, GROWTH, FIRST = 2**12, 2.1, 2**11
MIB = 2**20
OPEN = Verdict(None, "not measured")


def taken(found: Measured, arm: str, length: int) -> float | None:
    """The median of the milliseconds; None where they were not measured."""
    rows = found.chosen("times", arm=arm, length=length)
    return float(np.median(rows[0]["ms"])) if rows else None


def held(found: Measured, arm: str, length: int, part: str = "memory") -> float | None:
    """Temporary bytes; None where they were not measured, or the program does not fit."""
    rows = found.chosen(part, arm=arm, length=length)
    return rows[0]["bytes"] if rows else None


def grows(found: Measured, read: Callable, lengths: Sequence[int]) -> Verdict:
    """Twice the length is little more than twice as much."""
    each = [read(found, CHUNK, length) for length in lengths if length >= FIRST]
    if None in each:
        return OPEN
    grown = [after / before for before, after in zip(each, each[1:], strict=False)]
    return Verdict(max(grown) <= GROWTH, ", ".join(f"{share:.2f}" for share in grown))


def ordered(found: Measured, read: Callable, share: float, unit: str) -> Verdict:
    """At the paper's length the Transformer takes most, and Mega in chunks least."""
    each = {arm: read(found, arm, AT) for arm in (WHOLE, MEGA, CHUNK)}
    if None in each.values():
        return OPEN
    whole, mega, chunk = each.values()
    told = ", ".join(f"{arm} {size / share:,.0f} {unit}" for arm, size in each.items())
    return Verdict(whole > mega > chunk, told)


# committed before the first measurement; a rule that was not held stays and is told
RULES: dict[str, Callable[[Measured], Verdict]] = {
    "1. Mega-chunk's time is linear from 2^11 to 2^16": lambda found: grows(found, taken, TIMED),
    "2. and its memory": lambda found: grows(found, held, COMPILED),
    "3. memory at 4096: whole matrix, Mega, Mega-chunk": lambda found: ordered(found, held, MIB, "MiB"),
    "4. time at 4096: whole matrix, Mega, Mega-chunk": lambda found: ordered(found, taken, 1, "ms"),
}


def table(title: str, lengths: Sequence[int], cell: Callable[[str, int], float | None], none: str) -> list[str]:
    """A row for each arm."""
    lines = ["", f"### {title}", "", *row("block", *(f"2^{n.bit_length() - 1}" for n in lengths), head="head")]
    for arm in MEASURE.ARMS:
        sizes = [cell(arm, length) for length in lengths]
        lines += row(arm, *(none if size is None else f"{size:,.0f}" for size in sizes))
    return lines


def text(found: Measured) -> str:
    """Verdict, tables and machine, as Markdown."""

    def mib(part: str) -> Callable[[str, int], float | None]:
        def cell(arm: str, length: int) -> float | None:
            size = held(found, arm, length, part)
            return None if size is None else size / MIB

        return cell

    lines = reports.judged({name: rule(found) for name, rule in RULES.items()})
    lines += table("Forward and backward, milliseconds", TIMED, lambda arm, n: taken(found, arm, n), "–")
    lines += table("Temporaries of the compiled program, MiB", COMPILED, mib("memory"), "–")
    none = "does not fit" if found.chosen("chip") else "–"
    lines += table("The same on one TPU v5e, bfloat16, compiled and not run, MiB", CHIP, mib("chip"), none)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Measured) -> Figure:
    """Time and memory against the length."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    time, memory = figure.subplots(1, 2)
    colors = ("tab:gray", "black", "tab:cyan", "tab:blue", "tab:green")
    for arm, color in zip(MEASURE.ARMS, colors, strict=True):
        points = [(n, ms) for n in TIMED if (ms := taken(found, arm, n)) is not None]
        sizes = [(n, size / MIB) for n in COMPILED if (size := held(found, arm, n)) is not None]
        for axes, some in ((time, points), (memory, sizes)):
            if some:
                axes.loglog(*zip(*some, strict=True), "o-", color=color, label=arm, base=2)
    time.set(title="forward and backward", xlabel="n (tokens)", ylabel="milliseconds")
    memory.set(title="temporaries of the compiled program", xlabel="n (tokens)", ylabel="MiB")
    for axes in (time, memory):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture, load))
