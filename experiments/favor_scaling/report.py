"""What was measured as a verdict by rules that came before it, tables by length, and a picture.

python experiments/favor_scaling/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, measures, reports
from jattn.training.sweeps.measures import Measured
from jattn.training.sweeps.reports import Verdict, row

HERE = Path(__file__).parent
MEASURE = listed.executed(HERE / "measure.py")
load = measures.load
BOUND, OURS, _, EXACT, WHOLE = MEASURE.ARMS
TIMED, COMPILED = [length for length, _ in MEASURE.FULL.timed], MEASURE.FULL.compiled
# for one doubling: 2 where time or memory are linear, and what tails and noise may add
TIME_GROWTH, MEMORY_GROWTH, SQUARE = 2.2, 2.1, 3.5
# "nearly optimal": over a block without attention
NEAR = 1.5
# where memory of the whole matrix is compared, and how many times more it takes there
LONG, MORE = 2**15, 10
MIB = 2**20
OPEN = Verdict(None, "not measured")


def taken(found: Measured, arm: str, length: int) -> Float[np.ndarray, " rounds"] | None:
    """Milliseconds by round; None where they were not measured."""
    rows = found.chosen("times", arm=arm, length=length)
    return np.array(rows[0]["ms"]) if rows else None


def held(found: Measured, arm: str, lengths: Sequence[int] = COMPILED) -> Float[np.ndarray, " lengths"] | None:
    """Temporary bytes by length; None where one was not measured."""
    rows = [found.chosen("memory", arm=arm, length=length) for length in lengths]
    return np.array([each[0]["bytes"] for each in rows], float) if all(rows) else None


def ratio(found: Measured, arm: str, peer: str, length: int) -> float | None:
    """Of the times in the same round, the median."""
    both = [taken(found, each, length) for each in (arm, peer)]
    return None if any(each is None for each in both) else float(np.median(both[0] / both[1]))


def linear_time(found: Measured) -> Verdict:
    """From the second length on, twice the length is little more than twice the time."""
    rounds = [taken(found, OURS, length) for length in TIMED[1:]]
    if any(each is None for each in rounds):
        return OPEN
    medians = np.array([np.median(each) for each in rounds])
    grown = medians[1:] / medians[:-1]
    return Verdict(bool(grown.max() <= TIME_GROWTH), ", ".join(f"{each:.2f}" for each in grown))


def near_bound(found: Measured) -> Verdict:
    """At the two longest lengths, little more time than without attention."""
    ratios = [ratio(found, OURS, BOUND, length) for length in TIMED[-2:]]
    return OPEN if None in ratios else Verdict(max(ratios) <= NEAR, ", ".join(f"{each:.2f} ×" for each in ratios))


def overtakes(found: Measured) -> Verdict:
    """Exact attention takes longer at the longest length, and more so with each doubling before."""
    ratios = [ratio(found, EXACT, OURS, length) for length in TIMED[-3:]]
    if None in ratios:
        return OPEN
    told = ", ".join(f"{each:.2f} × at {length}" for each, length in zip(ratios, TIMED[-3:], strict=True))
    return Verdict(bool(ratios[-1] > 1 and (np.diff(ratios) > 0).all()), told)


def linear_memory(found: Measured) -> Verdict:
    """From 2^12 on, twice the length is little more than twice the memory."""
    if (sizes := held(found, OURS, [length for length in COMPILED if length >= 2**12])) is None:
        return OPEN
    grown = sizes[1:] / sizes[:-1]
    return Verdict(bool(grown.max() <= MEMORY_GROWTH), f"at most {grown.max():.2f} times")


def near_bound_memory(found: Measured) -> Verdict:
    """At the longest length, little more memory than without attention."""
    sizes = [held(found, arm, COMPILED[-1:]) for arm in (OURS, BOUND)]
    if any(each is None for each in sizes):
        return OPEN
    share = float(sizes[0][0] / sizes[1][0])
    return Verdict(share <= NEAR, f"{share:.2f} ×")


def square_memory(found: Measured) -> Verdict:
    """The whole matrix takes many times more at 2^15, and nearly four times with each doubling from there on."""
    whole, ours = (held(found, arm, [length for length in COMPILED if length >= LONG]) for arm in (WHOLE, OURS))
    if whole is None or ours is None:
        return OPEN
    grown = whole[1:] / whole[:-1]
    told = f"{whole[0] / ours[0]:.0f} ×, then at least {grown.min():.2f} times for a doubling"
    return Verdict(bool(whole[0] >= MORE * ours[0] and grown.min() >= SQUARE), told)


# committed before the first measurement; a rule that was not held stays and is told
RULES: dict[str, Callable[[Measured], Verdict]] = {
    "1. time is linear from 2^10 to 2^13": linear_time,
    "2. and near that of a block without attention, at 2^12 and 2^13": near_bound,
    "3. exact attention takes longer at 2^13, and ever more": overtakes,
    "4. memory is linear from 2^12 to 2^17": linear_memory,
    "5. and near that of a block without attention, at 2^17": near_bound_memory,
    "6. the whole matrix takes ten times more at 2^15, and the square of it after": square_memory,
}


def text(found: Measured) -> str:
    """Verdict, tables and machine, as Markdown."""
    lines = reports.judged({name: rule(found) for name, rule in RULES.items()})
    lines += ["", "### Forward and backward, milliseconds: median (ratio to a block without attention, same round)", ""]
    lines += row("attention", *(f"2^{length.bit_length() - 1}" for length in TIMED), head="head")
    for arm in MEASURE.TIMED:
        cells = []
        for length in TIMED:
            rounds, share = taken(found, arm, length), ratio(found, arm, BOUND, length)
            cells.append("–" if rounds is None else f"{np.median(rounds):.3g} ({share:.2f} ×)")
        lines += row(arm, *cells)
    lines += ["", "### Temporaries of the compiled program, MiB", ""]
    lines += row("attention", *(f"2^{length.bit_length() - 1}" for length in COMPILED), head="head")
    for arm in MEASURE.ARMS:
        sizes = [held(found, arm, [length]) for length in COMPILED]
        lines += row(arm, *("–" if each is None else f"{each[0] / MIB:,.0f}" for each in sizes))
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Measured) -> Figure:
    """Time and memory against the length."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for arm, color in zip(MEASURE.ARMS, ("black", "tab:blue", "tab:green", "tab:orange", "tab:red"), strict=True):
        points = [(n, np.median(rounds)) for n in TIMED if (rounds := taken(found, arm, n)) is not None]
        sizes = [(n, size[0] / MIB) for n in COMPILED if (size := held(found, arm, [n])) is not None]
        for axes, some in ((time, points), (memory, sizes)):
            if some:
                axes.loglog(*zip(*some, strict=True), "o--" if arm == BOUND else "o-", color=color, label=arm, base=2)
    time.set(title="forward and backward", xlabel="n (tokens)", ylabel="milliseconds")
    memory.set(title="temporaries of the compiled program", xlabel="n (tokens)", ylabel="MiB")
    for axes in (time, memory):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture, load))
