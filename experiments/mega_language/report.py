"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/mega_language/report.py [--smoke]: renews report.png and the part of README.md between its marks.
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
TRANSFORMER, MEGA, CHUNK, S4D = RUN.MODELS
# nats per byte
AHEAD, MATCH = 0.02, 0.05
OPEN = Verdict(None, "not all there")


def seeds(found: Found, arm: str, rate: float) -> list[dict[str, Any] | None]:
    """The results of a cell of the grid."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells[arm, rate, seed] for seed in RUN.SEEDS]


def end(found: Found, arm: str) -> float:
    """The mean held-out loss of the seeds at the rate where it is least."""
    return min(float(np.mean(list(map(loss, seeds(found, arm, rate))))) for rate in RUN.RATES)


def compared(found: Found, one: str, other: str, most: float) -> Verdict:
    """Whether one model ends at most so far above another."""
    ours, others = (end(found, arm) for arm in (one, other))
    return Verdict(ours <= others + most, f"{one} {ours:.3f}, {other} {others:.3f}")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. Mega ends at least 0.02 below the Transformer": lambda found: compared(found, MEGA, TRANSFORMER, -AHEAD),
    "2. Mega-chunk ends below the Transformer": lambda found: compared(found, CHUNK, TRANSFORMER, 0),
    "3. Mega-chunk ends at most 0.05 above Mega": lambda found: compared(found, CHUNK, MEGA, MATCH),
    "4. S4D ends at least 0.02 above Mega": lambda found: compared(found, MEGA, S4D, -AHEAD),
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = [*reports.judged(verdicts, found.missing), "", "### Held out, nats per byte, by seed", ""]
    lines += row("model", *(f"rate {rate:g}" for rate in RUN.RATES), head="head")
    for arm in RUN.MODELS:
        grid = [[each for each in seeds(found, arm, rate) if each] for rate in RUN.RATES]
        cells = [", ".join("diverged" if math.isinf(loss(e)) else f"{loss(e):.3f}" for e in held) for held in grid]
        lines += row(arm, *(cell or "–" for cell in cells))
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Training losses at every rate, and held-out losses by model."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    curves, dots = figure.subplots(1, 2)
    colors = dict(zip(RUN.MODELS, ("black", "tab:blue", "tab:green", "tab:red"), strict=True))
    tops = []
    for place, arm in enumerate(RUN.MODELS):
        for rate, style, mark in zip(RUN.RATES, ("-", "--"), "os", strict=True):
            held = [each for each in seeds(found, arm, rate) if each and loss(each) < math.inf]
            for each in held:
                points = [(point["step"], point["loss"]) for point in each["points"]]
                curves.plot(*zip(*points, strict=True), style, color=colors[arm], linewidth=0.8)
                tops.append(points[len(points) // 8][1])
            dots.plot([place] * len(held), list(map(loss, held)), mark, color=colors[arm])
        curves.plot([], [], color=colors[arm], label=arm)
    for rate, style, mark in zip(RUN.RATES, ("-", "--"), "os", strict=True):
        curves.plot([], [], style, color="gray", label=f"rate {rate:g}")
        dots.plot([], [], mark, color="gray", label=f"rate {rate:g}")
    curves.set(xlabel="step", ylabel="training loss (nats per byte)", ylim=(None, max(tops, default=1)))
    dots.set(ylabel="held-out loss (nats per byte)", xticks=range(len(RUN.MODELS)), xticklabels=list(RUN.MODELS))
    curves.legend(fontsize="small")
    dots.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
