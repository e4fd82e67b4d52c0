"""Results of the sweep as a verdict by rules that came before it, tables of both grids, and a picture.

python experiments/favor_kernels/report.py [--smoke]: renews report.png and the part of README.md between its marks.
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
EXACT, POSITIVE, SMREG, RELU, EXP, TRIGONOMETRIC = RUN.ARMS
TEXT, IMAGES = RUN.TASKS
# nats per byte, and bits per pixel; the paper's kernels lie 0.02 bits apart
MATCH, APART = 0.1, 0.05
OPEN = Verdict(None, "not all there")


def halfway(held: dict[str, Any]) -> float:
    """The training loss around half of the steps, from 3/8 to 5/8 of them."""
    steps = held["reached"]["steps"]
    return float(np.mean([each["loss"] for each in held["points"] if 3 / 8 <= each["step"] / steps <= 5 / 8]))


def seeds(found: Found, task: str, arm: str, rate: float) -> list[dict[str, Any] | None]:
    """The results of a cell of the grid."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells[task, arm, rate, seed] for seed in RUN.SEEDS]


def best(found: Found, task: str, arm: str) -> list[dict[str, Any]]:
    """The results by seed at the rate whose mean held-out loss is least."""
    grid = [seeds(found, task, arm, rate) for rate in RUN.RATES]
    return min(grid, key=lambda cell: np.mean(list(map(loss, cell))))


def ends(found: Found, task: str, arm: str) -> np.ndarray:
    """Held-out losses by seed at the best rate, in nats per byte or bits per pixel."""
    held = np.array(list(map(loss, best(found, task, arm))))
    return held / math.log(2) if task == IMAGES else held


def means(found: Found, task: str, *arms: str) -> tuple[list[float], str]:
    """Mean ends of arms, and in words."""
    held = [float(ends(found, task, arm).mean()) for arm in arms]
    return held, ", ".join(f"{arm} {each:.3f}" for arm, each in zip(arms, held, strict=True))


def match(found: Found) -> Verdict:
    """On text positive, SMREG and ReLU end near exact attention."""
    (exact, *others), told = means(found, TEXT, EXACT, POSITIVE, SMREG, RELU)
    return Verdict(max(others) <= exact + MATCH, told)


def worst(found: Found) -> Verdict:
    """On text trigonometric features end above the three, from each seed."""
    theirs = ends(found, TEXT, TRIGONOMETRIC)
    held = all((ends(found, TEXT, arm) < theirs).all() for arm in (POSITIVE, SMREG, RELU))
    return Verdict(held, means(found, TEXT, TRIGONOMETRIC, POSITIVE, SMREG, RELU)[1])


def relu_first(found: Found) -> Verdict:
    """On text ReLU ends no higher than positive features."""
    (ours, other), told = means(found, TEXT, RELU, POSITIVE)
    return Verdict(ours <= other, told)


def sooner(found: Found) -> Verdict:
    """On text SMREG is below positive features halfway, each at its best rate, from each seed."""
    ours, others = ([halfway(each) for each in best(found, TEXT, arm)] for arm in (SMREG, POSITIVE))
    told = " beside ".join(", ".join(f"{each:.3f}" for each in some) for some in (ours, others))
    return Verdict(all(a < b for a, b in zip(ours, others, strict=True)), told)


def alike(found: Found) -> Verdict:
    """On images the three kernels end near each other."""
    held, told = means(found, IMAGES, POSITIVE, SMREG, RELU)
    return Verdict(max(held) - min(held) <= APART, f"{told} bits per pixel")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. text: positive, SMREG and ReLU within 0.1 of exact": match,
    "2. text: trigonometric above the three": worst,
    "3. text: ReLU no higher than positive": relu_first,
    "4. text: SMREG below positive halfway": sooner,
    "5. images: the three within 0.05 bits per pixel": alike,
}


def text(found: Found) -> str:
    """Verdict, the grids and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, found.missing)
    for task, (*_, arms) in RUN.TASKS.items():
        unit, share = ("bits per pixel", math.log(2)) if task == IMAGES else ("nats per byte", 1)
        lines += ["", f"### Of {task}, {unit}", ""]
        lines += row("attention", "rate", "held out, by seed", "training loss halfway", head="head")
        for arm in arms:
            for rate in RUN.RATES:
                held = [each for each in seeds(found, task, arm, rate) if each]
                told = ("diverged" if math.isinf(loss(each)) else f"{loss(each) / share:.3f}" for each in held)
                early = [halfway(each) / share for each in held if loss(each) < math.inf]
                cells = ", ".join(told) or "–", ", ".join(f"{each:.3f}" for each in early) or "–"
                lines += row(arm, f"{rate:g}", *cells)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Training losses at every rate, and held-out losses by arm."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    colors = dict(zip(RUN.ARMS, ("black", "tab:blue", "tab:purple", "tab:green", "tab:red", "tab:orange"), strict=True))
    for (task, (*_, arms)), (curves, dots) in zip(RUN.TASKS.items(), figure.subplots(2, 2), strict=True):
        unit, share = ("bits per pixel", math.log(2)) if task == IMAGES else ("nats per byte", 1)
        tops = []
        for place, arm in enumerate(arms):
            for rate, style in zip(RUN.RATES, ("-", "--"), strict=True):
                held = [each for each in seeds(found, task, arm, rate) if each and loss(each) < math.inf]
                for each in held:
                    points = [(point["step"], point["loss"] / share) for point in each["points"]]
                    curves.plot(*zip(*points, strict=True), style, color=colors[arm], linewidth=0.8)
                    tops.append(points[len(points) // 8][1])
                mark = "o" if style == "-" else "s"
                dots.plot([place] * len(held), [loss(each) / share for each in held], mark, color=colors[arm])
            curves.plot([], [], color=colors[arm], label=arm)
        for rate, style, mark in zip(RUN.RATES, ("-", "--"), "os", strict=True):
            curves.plot([], [], style, color="gray", label=f"rate {rate:g}")
            dots.plot([], [], mark, color="gray", label=f"rate {rate:g}")
        curves.set(title=task, xlabel="step", ylabel=f"training loss ({unit})", ylim=(None, max(tops, default=1)))
        dots.set(ylabel=f"held-out loss ({unit})", xticks=range(len(arms)), xticklabels=arms)
        curves.legend(fontsize="x-small")
        dots.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
