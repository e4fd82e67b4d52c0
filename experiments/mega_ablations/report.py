"""Results of the sweep as a verdict by rules that came before it, a table of the arms, and a picture.

python experiments/mega_ablations/report.py [--smoke]: renews report.png and the part of README.md between its marks.
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
WIDTHS = [f"expansion {n}" for n in RUN.EXPANSIONS]
CHUNKS = [f"chunk {n or 'full'}" for n in RUN.CHUNKS]
# nats per byte
COSTS, MATCH, NOISE = 0.05, 0.05, 0.01
OPEN = Verdict(None, "not all there")


def seeds(found: Found, arm: str) -> list[dict[str, Any]]:
    """The results of an arm that are there."""
    by_run = dict(zip(RUN.RUNS, found.held, strict=True))
    return [held for seed in RUN.SEEDS if (held := by_run[RUN.CELLS[arm, seed]])]


def end(found: Found, arm: str) -> float:
    """The mean held-out loss of the seeds."""
    return float(np.mean([loss(held) for held in seeds(found, arm)]))


def told(found: Found, arms: list[str]) -> str:
    """Mean ends, in words."""
    return ", ".join(f"{arm} {end(found, arm):.3f}" for arm in arms)


def removed(found: Found) -> Verdict:
    """Without an average it ends higher."""
    none, *_, most = WIDTHS
    return Verdict(end(found, none) >= end(found, most) + COSTS, told(found, [none, most]))


def recovered(found: Found) -> Verdict:
    """One number a channel gives back more than half of what the removal costs."""
    none, one, *_, most = WIDTHS
    lost, left = (end(found, arm) - end(found, most) for arm in (none, one))
    return Verdict(left <= lost / 2, told(found, [none, one, most]))


def longer(found: Found) -> Verdict:
    """No longer chunk ends above a shorter one, but for noise."""
    ends = [end(found, arm) for arm in CHUNKS]
    held = all(after <= before + NOISE for before, after in zip(ends, ends[1:], strict=False))
    return Verdict(held, told(found, CHUNKS))


def alike(found: Found) -> Verdict:
    """Laplace ends near softmax."""
    arms = ["softmax", "Laplace"]
    one, other = (end(found, arm) for arm in arms)
    return Verdict(abs(one - other) <= MATCH, told(found, arms))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. without the average Mega ends at least 0.05 higher": removed,
    "2. an expansion of 1 gives back more than half of that": recovered,
    "3. no longer chunk ends more than 0.01 above a shorter one": longer,
    "4. Laplace ends within 0.05 of softmax": alike,
}


def text(found: Found) -> str:
    """Verdict, the arms and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = [*reports.judged(verdicts, found.missing), "", "### Held out, nats per byte, by seed", ""]
    lines += row("arm", "held out", head="head")
    for arm in RUN.ARMS:
        cells = ["diverged" if math.isinf(loss(held)) else f"{loss(held):.3f}" for held in seeds(found, arm)]
        lines += row(arm, ", ".join(cells) or "–")
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Held-out losses against the expansion, the chunk and the kind of weights."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    for arms, title, axes in zip(
        (WIDTHS, CHUNKS, ["softmax", "Laplace"]),
        ("numbers a channel of the average", "tokens of a chunk", "weights"),
        figure.subplots(1, 3, sharey=True),
        strict=True,
    ):
        for place, arm in enumerate(arms):
            ends = [each for held in seeds(found, arm) if (each := loss(held)) < math.inf]
            axes.plot([place] * len(ends), ends, "o", color="tab:blue")
        axes.set(title=title, xticks=range(len(arms)), xticklabels=[arm.split()[-1] for arm in arms])
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("held-out loss (nats per byte)")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
