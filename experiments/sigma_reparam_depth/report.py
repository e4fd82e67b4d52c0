"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/sigma_reparam_depth/report.py [--smoke]: renews report.png and the part of README.md between its
marks.
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
PLAIN, OURS, BEFORE = RUN.ARMS
# nats per token of held-out strings to one that knows how often each symbol comes, and to one that knows the one before
UNIGRAM, PREVIOUS = 2.193, 1.293
# what ends above this has learned nothing but how often each symbol comes
LEARNED = UNIGRAM - 0.1
OPEN = Verdict(None, "not all there")


def seeds(found: Found, arm: str, rate: float, warm_up: float) -> list[dict[str, Any] | None]:
    """The results of a cell of the grid."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells[arm, rate, warm_up, seed] for seed in RUN.SEEDS]


def losses(found: Found, arm: str, *warm_ups: float) -> dict[tuple[float, float], list[float]] | None:
    """The losses of an arm's cells, of all warm-ups where none is named; None where a run is missing."""
    warm_ups = warm_ups or RUN.WARM_UPS
    held = {(rate, warm_up): seeds(found, arm, rate, warm_up) for warm_up in warm_ups for rate in RUN.RATES}
    if any(None in each for each in held.values()):
        return None
    return {cell: [loss(each) for each in some] for cell, some in held.items()}


def below(mark: float, arm: str, *warm_ups: float) -> Callable[[Found], Verdict]:
    """All seeds of the arm's best cell are below the mark."""

    def rule(found: Found) -> Verdict:
        if (held := losses(found, arm, *warm_ups)) is None:
            return OPEN
        (rate, warm_up), best = min(held.items(), key=lambda each: np.mean(each[1]))
        told = ", ".join(f"{each:.3f}" for each in best)
        return Verdict(max(best) < mark, f"{told} at {rate:g}, warm-up {warm_up:.0%}; the mark is {mark:.3f}")

    return rule


def never_learns(found: Found) -> Verdict:
    """No run of the plain arm learns more than how often each symbol comes."""
    if (held := losses(found, PLAIN)) is None:
        return OPEN
    every = [each for some in held.values() for each in some]
    learned = sum(each < LEARNED for each in every)
    return Verdict(learned == 0, f"{learned} of {len(every)} learn, the least loss is {min(every):.3f}")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. with norms before, each seed learns what follows a symbol": below(PREVIOUS, BEFORE),
    "2. no plain run with norms behind learns anything": never_learns,
    "3. with sigmaReparam, each seed learns without warm-up": below(LEARNED, OURS, RUN.WARM_UPS[0]),
    "4. and what follows a symbol, with warm-up or without": below(PREVIOUS, OURS),
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    lines = reports.judged({name: rule(found) for name, rule in RULES.items()}, found.missing)
    columns = "arm", "warm-up", "rate", "held-out loss by seed", "least entropy of a layer, nats"
    lines += ["", "### The grid", "", *row(*columns, head="head")]
    for arm in RUN.ARMS:
        for warm_up in RUN.WARM_UPS:
            for rate in RUN.RATES:
                held = [each for each in seeds(found, arm, rate, warm_up) if each]
                told = ", ".join("diverged" if loss(each) == math.inf else f"{loss(each):.3f}" for each in held)
                least = [lowest(each) for each in held if loss(each) < math.inf]
                lines += row(arm, f"{warm_up:.0%}", f"{rate:g}", told or "–", f"{min(least):.2f}" if least else "–")
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def lowest(held: dict[str, Any]) -> float:
    """Of the layers' mean entropies at the last step that was kept, the least, in nats."""
    return float(np.mean([point["entropy"] for point in held["points"] if "entropy" in point][-1], -1).min())


def picture(found: Found) -> Figure:
    """Training losses of every run, a panel an arm, and held-out losses by rate."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    *panels, last = figure.subplots(1, 4)
    colors = dict(zip(RUN.RATES, ("tab:blue", "tab:orange", "tab:red"), strict=True))
    for arm, axes in zip(RUN.ARMS, panels, strict=True):
        for (name, rate, warm_up, _), held in zip(RUN.CELLS, found.held, strict=True):
            if name == arm and held:
                style = "-" if warm_up == RUN.WARM_UPS[0] else ":"
                points = [(point["step"], point["loss"]) for point in held["points"]]
                axes.plot(*zip(*points, strict=True), style, color=colors[rate], linewidth=0.8)
        for rate, color in colors.items():
            axes.plot([], [], color=color, label=f"rate {rate:g}")
        axes.plot([], [], ":", color="gray", label="with warm-up")
        axes.set(title=arm, xlabel="step", ylabel="training loss (nats per token)", ylim=(0, 3))
        axes.legend(fontsize="x-small")
    looks = zip(RUN.ARMS, ("tab:green", "tab:purple", "tab:gray"), (0.9, 1, 1.1), strict=True)
    for arm, color, aside in looks:
        for warm_up, fill in zip(RUN.WARM_UPS, ("full", "none"), strict=True):
            held = {rate: [loss(each) for each in seeds(found, arm, rate, warm_up) if each] for rate in RUN.RATES}
            points = [(aside * rate, each) for rate, some in held.items() for each in some if each < math.inf]
            if points:
                label = f"{arm}, warm-up {warm_up:.0%}"
                last.plot(*zip(*points, strict=True), "o", fillstyle=fill, color=color, label=label)
    for mark, name in ((UNIGRAM, "frequencies"), (PREVIOUS, "the symbol before")):
        last.axhline(mark, color="gray", linestyle="--", linewidth=1)
        last.text(RUN.RATES[0], mark, name, fontsize="x-small", verticalalignment="bottom")
    last.set(xscale="log", xlabel="rate", ylabel="held-out loss (nats per token)", ylim=(0, 3))
    if found.missing < len(found.held):
        last.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
