"""Results of the sweep as a verdict by rules that came before it, tables of both parts, and a picture.

python experiments/sigma_reparam_vision/report.py [--smoke]: renews report.png and the part of README.md between its
marks.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, accuracy, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
BASELINE, OURS, NEITHER, NORMS = RUN.ARMS
# below this share of right images the usual recipe has not learned the digits, and nothing is tested
LEARNED = 0.9
# how far a mean may lie from another's to be as good
POINT = 0.01
OPEN = Verdict(None, "not all there")


def shown(found: Found, arm: str, rate: float | None, seeds: tuple[int, ...]) -> list[dict[str, Any] | None]:
    """The results of an arm at a rate, by seed."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells.get((arm, rate, seed)) for seed in seeds]


def mean(held: list[dict[str, Any] | None]) -> float | None:
    """Of the accuracies; None where a run is missing."""
    return None if None in held else float(np.mean([accuracy(each) for each in held]))


def chosen(found: Found, arm: str) -> float | None:
    """The rate with the best mean over the grid's seeds, the lower of two alike; None where a run is missing."""
    means = {rate: mean(shown(found, arm, rate, RUN.GRID_SEEDS)) for rate in RUN.ARMS[arm][2]}
    return None if None in means.values() else max(means, key=means.__getitem__)


def judged(found: Found, arm: str) -> list[dict[str, Any] | None]:
    """The five runs that count."""
    return shown(found, arm, RUN.CHOSEN.get(arm), RUN.SEEDS)


def told(found: Found, *arms: str) -> tuple[list[float], str] | None:
    """The arms' means and how they are told; None where a run is missing."""
    means = [mean(judged(found, arm)) for arm in arms]
    return None if None in means else (means, " beside ".join(f"{each:.2%}" for each in means))


def tested(found: Found) -> Verdict:
    """The usual recipe learns the digits."""
    if (figures := told(found, BASELINE)) is None:
        return OPEN
    return Verdict(figures[0][0] >= LEARNED, figures[1])


def as_good(found: Found) -> Verdict:
    """With sigmaReparam the mean is at most a point below that of the usual recipe."""
    if (figures := told(found, OURS, BASELINE)) is None:
        return OPEN
    (ours, usual), words = figures
    return Verdict(ours >= usual - POINT, words)


def needed(found: Found) -> Verdict:
    """Without it the mean is more than a point lower, or a run diverges."""
    if (figures := told(found, NEITHER, OURS)) is None:
        return OPEN
    (neither, ours), words = figures
    failed = sum("diverged" in each["reached"] for each in judged(found, NEITHER))
    return Verdict(bool(failed) or neither < ours - POINT, f"{words}, {failed} of {len(RUN.SEEDS)} diverged")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. the usual recipe tells nine of ten images right": tested,
    "2. sigmaReparam is at most a point below it": as_good,
    "3. the same without sigmaReparam is more than a point worse, or diverges": needed,
}


def text(found: Found) -> str:
    """Verdict, the runs that count, the grid and machine, as Markdown."""
    verdicts = {name: rule(found) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, found.missing)
    head = ("arm", "rate", "mean", *(f"seed {seed}" for seed in RUN.SEEDS))
    lines += ["", "### Held-out images told right, at the chosen rate", "", *row(*head, head="head")]
    for arm in RUN.ARMS:
        held = judged(found, arm)
        rate = f"{RUN.CHOSEN[arm]:g}" if arm in RUN.CHOSEN else "–"
        lines += row(arm, rate, _share(mean(held)), *map(_told, held))
    lines += ["", f"### The grid, seeds {' and '.join(map(str, RUN.GRID_SEEDS))}", ""]
    lines += row("arm", *["rate: told right"] * len(RUN.ADAMW_RATES), head="head")
    for arm, (_, _, rates) in RUN.ARMS.items():
        by_rate = {rate: shown(found, arm, rate, RUN.GRID_SEEDS) for rate in rates}
        lines += row(arm, *(f"{rate:g}: {', '.join(map(_told, held))}" for rate, held in by_rate.items()))
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _told(held: dict[str, Any] | None) -> str:
    return "diverged" if held and "diverged" in held["reached"] else _share(held and accuracy(held))


def picture(found: Found) -> Figure:
    """Accuracy by rate, accuracy of the runs that count, and their attention entropy over training."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    grid, count, entropy = figure.subplots(1, 3)
    colors = dict(zip(RUN.ARMS, ("black", "tab:purple", "tab:orange", "tab:gray"), strict=True))
    for place, (arm, (_, _, rates)) in enumerate(RUN.ARMS.items()):
        means = [(rate, mean(shown(found, arm, rate, RUN.GRID_SEEDS))) for rate in rates]
        points = [(rate, each) for rate, each in means if each is not None]
        if points:
            grid.plot(*zip(*points, strict=True), "o-", color=colors[arm], label=arm)
        held = [each for each in judged(found, arm) if each]
        count.plot([place] * len(held), [accuracy(each) for each in held], "o", color=colors[arm], alpha=0.6)
        for each in held:
            points = [(point["step"], np.mean(point["entropy"])) for point in each["points"] if "entropy" in point]
            entropy.plot(*zip(*points, strict=True), color=colors[arm], linewidth=0.8)
    grid.set(xscale="log", xlabel="rate", ylabel="held-out images told right", title="the grid, mean of two seeds")
    if grid.lines:
        grid.legend(fontsize="x-small")
    count.set_xticks(range(len(RUN.ARMS)), RUN.ARMS, fontsize="x-small")
    count.set(title="five seeds at the chosen rate", xlim=(-0.5, len(RUN.ARMS) - 0.5))
    entropy.set(title="mean attention entropy", xlabel="step", ylabel="nats", ylim=(0, 2.9))
    entropy.axhline(np.log(16), color="gray", linestyle="--", linewidth=1)
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
