"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/mega_pixels/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
MEGA, CHUNK, TRANSFORMER, S4D = RUN.MODELS
# shares of the held-out images
GUESS, LEARNED, AHEAD, MATCH = 0.1, 0.8, 0.1, 0.05
# as floats are added up
SLACK = 1e-9
OPEN = Verdict(None, "not all there")


class Grid:
    """The results of an experiment by model, rate and seed; its `run` is a module that builds CELLS."""

    def __init__(self, run: Any, found: Found):
        self.run = run
        self.cells = dict(zip(run.CELLS, found.held, strict=True))

    def shares(self, arm: str, rate: float) -> list[float]:
        """Of what is there, the share of held-out examples that is right, by seed; 0 where a run diverged."""
        held = [self.cells[arm, rate, seed] for seed in self.run.SEEDS]
        return [reports.accuracy(each) for each in held if each]

    def best(self, arm: str) -> float:
        """The mean share of the seeds at the rate where it is largest."""
        return max(float(np.mean(self.shares(arm, rate))) for rate in self.run.RATES)

    def above(self, arm: str, least: float) -> Verdict:
        """Whether a model is right so often."""
        return Verdict(self.best(arm) >= least - SLACK, f"{arm} {self.best(arm):.1%}")

    def ahead(self, one: str, other: str, least: float) -> Verdict:
        """Whether one model is right so much more often than another."""
        ours, others = self.best(one), self.best(other)
        return Verdict(ours >= others + least - SLACK, f"{one} {ours:.1%}, {other} {others:.1%}")

    def table(self) -> list[str]:
        """The shares of every model, by rate and seed, as lines of Markdown."""
        lines = row("model", *(f"rate {rate:g}" for rate in self.run.RATES), head="head")
        for arm in self.run.MODELS:
            cells = [", ".join(f"{share:.1%}" for share in self.shares(arm, rate)) for rate in self.run.RATES]
            lines += row(arm, *(cell or "–" for cell in cells))
        return lines

    def drawn(self, guess: float, what: str) -> Figure:
        """Training losses at every rate, and held-out shares by model above what a guess is right in."""
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        curves, dots = figure.subplots(1, 2)
        colors = dict(zip(self.run.MODELS, ("tab:blue", "tab:green", "black", "tab:red"), strict=True))
        styles = dict(zip(self.run.RATES, (("-", "o"), ("--", "s")), strict=True))
        for place, arm in enumerate(self.run.MODELS):
            for rate, (style, mark) in styles.items():
                for seed in self.run.SEEDS:
                    held = self.cells[arm, rate, seed]
                    points = [(point["step"], point["loss"]) for point in held["points"]] if held else []
                    if points:
                        curves.plot(*zip(*points, strict=True), style, color=colors[arm], linewidth=0.8)
                shares = self.shares(arm, rate)
                dots.plot([place] * len(shares), shares, mark, color=colors[arm])
            curves.plot([], [], color=colors[arm], label=arm)
        for rate, (style, mark) in styles.items():
            curves.plot([], [], style + mark, color="gray", label=f"rate {rate:g}")
        dots.axhline(guess, color="gray", linewidth=0.8, linestyle=":", label="always one class")
        curves.set(xlabel="step", ylabel="training loss of a batch (nats)")
        names = list(self.run.MODELS)
        dots.set(ylabel=f"held-out {what} that are right", xticks=range(len(names)), xticklabels=names, ylim=(0, 1))
        # of both halves, under them: what is drawn leaves no corner free
        figure.legend(loc="outside lower center", ncols=len(names) + len(styles) + 1, fontsize="small")
        return figure


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Grid], Verdict]] = {
    "1. Mega is right on at least 80%": lambda grid: grid.above(MEGA, LEARNED),
    "2. Mega is right on at least 10 points more than the Transformer": lambda grid: grid.ahead(
        MEGA, TRANSFORMER, AHEAD
    ),
    "3. Mega-chunk is right on at most 5 points less than Mega": lambda grid: grid.ahead(CHUNK, MEGA, -MATCH),
    "4. S4D is right on at least 10 points more than the Transformer": lambda grid: grid.ahead(S4D, TRANSFORMER, AHEAD),
    "5. Mega is right on at least as many as S4D": lambda grid: grid.ahead(MEGA, S4D, 0),
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    grid = Grid(RUN, found)
    verdicts = {name: OPEN if found.missing else rule(grid) for name, rule in RULES.items()}
    lines = [*reports.judged(verdicts, found.missing), "", "### Held-out images that are right, by seed", ""]
    return "\n".join([*lines, *grid.table(), "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """What `Grid.drawn` draws of images."""
    return Grid(RUN, found).drawn(GUESS, "images")


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
