"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/favor_stability/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, loss, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
POSITIVE, TRIGONOMETRIC, EXACT = RUN.ARMS
# nats per byte by which a training loss rises above the least before it where a run is unstable; batches differ by 0.1
JUMP = 0.5
# what "matches" means, in held-out nats per byte
MATCH = 0.1
OPEN = Verdict(None, "not all there")


def jump(held: dict[str, Any]) -> float:
    """By how much a training loss was above the least one before it, at most; infinite where the run diverged."""
    if "diverged" in held["reached"]:
        return math.inf
    losses = np.array([point["loss"] for point in held["points"]])
    return float((losses - np.minimum.accumulate(losses)).max())


def seeds(found: Found, arm: str, rate: float) -> list[dict[str, Any] | None]:
    """The results of a cell of the grid."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells[arm, rate, seed] for seed in RUN.SEEDS]


def all_of(found: Found, arm: str) -> list[dict[str, Any] | None]:
    """The results of an arm."""
    return [held for rate in RUN.RATES for held in seeds(found, arm, rate)]


def best(found: Found, arm: str) -> tuple[float, list[float]]:
    """The rate of the least mean loss, and the losses by seed there."""
    held = {rate: [loss(each) for each in seeds(found, arm, rate)] for rate in RUN.RATES}
    return min(held.items(), key=lambda each: np.mean(each[1]))


def shown(figures: list[float]) -> str:
    """Losses by seed."""
    return ", ".join("diverged" if math.isinf(each) else f"{each:.3f}" for each in figures)


def stable(found: Found) -> Verdict:
    """No run with positive features is unstable."""
    jumps = [jump(each) for each in all_of(found, POSITIVE)]
    return Verdict(
        max(jumps) <= JUMP, f"{sum(each > JUMP for each in jumps)} of {len(jumps)}, at most {max(jumps):.2f}"
    )


def unstable(found: Found) -> Verdict:
    """With trigonometric features some run at every rate is."""
    by_rate = [[jump(each) for each in seeds(found, TRIGONOMETRIC, rate)] for rate in RUN.RATES]
    counts = [sum(each > JUMP for each in jumps) for jumps in by_rate]
    most = max(each for jumps in by_rate for each in jumps)
    told = ", ".join(f"{count} at {rate:g}" for count, rate in zip(counts, RUN.RATES, strict=True))
    return Verdict(min(counts) > 0, f"{told}; the loss rises by {most:.2f} at most")


def below(found: Found) -> Verdict:
    """At each arm's best rate, positive features end lower from each seed."""
    (one, ours), (two, others) = (best(found, arm) for arm in (POSITIVE, TRIGONOMETRIC))
    held = all(a < b for a, b in zip(ours, others, strict=True))
    return Verdict(held, f"{shown(ours)} at {one:g} beside {shown(others)} at {two:g}")


def matches(found: Found) -> Verdict:
    """At each arm's best rate, positive features end near exact attention, by the mean of the seeds."""
    (one, ours), (two, others) = (best(found, arm) for arm in (POSITIVE, EXACT))
    held = float(np.mean(ours) - np.mean(others)) <= MATCH
    return Verdict(held, f"{shown(ours)} at {one:g} beside {shown(others)} at {two:g}")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. with positive features no run is unstable": stable,
    "2. with trigonometric ones some run is, at each rate": unstable,
    "3. positive features end lower": below,
    "4. and within 0.1 of exact attention": matches,
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, found.missing)
    columns = "attention", "rate", "held-out loss by seed", "training loss by seed", "largest rise of a training loss"
    lines += ["", "### The grid", "", *row(*columns, head="head")]
    for arm in RUN.ARMS:
        for rate in RUN.RATES:
            held = [each for each in seeds(found, arm, rate) if each]
            trained = [math.inf if math.isinf(loss(each)) else each["reached"]["train_loss"] for each in held]
            figures = (shown(each) or "–" for each in (list(map(loss, held)), trained, list(map(jump, held))))
            lines += row(arm, f"{rate:g}", *figures)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Training losses of every run, a panel an arm, and held-out losses by rate."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    *panels, last = figure.subplots(1, 4)
    colors = dict(zip(RUN.RATES, ("tab:blue", "tab:orange", "tab:red"), strict=True))
    for arm, axes in zip(RUN.ARMS, panels, strict=True):
        for rate, color in colors.items():
            for held in filter(None, seeds(found, arm, rate)):
                points = [(point["step"], point["loss"]) for point in held["points"]]
                axes.plot(*zip(*points, strict=True), color=color, linewidth=0.8)
            axes.plot([], [], color=color, label=f"rate {rate:g}")
        axes.set(title=arm, xlabel="step", ylabel="training loss (nats per byte)", ylim=(1.5, 6))
        axes.legend(fontsize="small")
    for arm, color in zip(RUN.ARMS, ("tab:blue", "tab:orange", "black"), strict=True):
        points = [(rate, loss(each)) for rate in RUN.RATES for each in seeds(found, arm, rate) if each]
        if points := [point for point in points if point[1] < math.inf]:
            last.semilogx(*zip(*points, strict=True), "o", color=color, label=arm)
            last.legend(fontsize="small")
    last.set(xlabel="rate", ylabel="held-out loss (nats per byte)")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
