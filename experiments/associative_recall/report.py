"""Results of the sweep as a verdict by rules that came before it, a table of the arms, and a picture.

python experiments/associative_recall/report.py [--smoke]: renews report.png and the part of README.md between its
marks.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, accuracy, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
EXACT, DELTA, ADDITIVE = "exact", "delta", ("retention", "gated")
LINEAR = tuple(arm for arm in RUN.ARMS if arm != EXACT)
# shares of the questions: answered as good as all, and what counts as more
SOLVED, MORE = 0.99, 0.05
OPEN = Verdict(None, "not all there")


def state_bytes(arm: str, size: int) -> int:
    """What the attention of a layer carries to decode after a whole example, in bytes; without the convolution's."""
    model, attention = RUN.CELLS[arm, size, RUN.RATES[0]].model, RUN.ARMS[arm][size][1]
    dims = model.projection.dims(model.width, model.heads, model.depth)
    dims = dataclasses.replace(dims, length=RUN.CONTEXT)

    def held() -> Any:
        variables = attention.init(jax.random.key(0), dims)
        return attention.state(dims, jnp.float32, attention.own(variables))

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(held)))


def shares(found: Found, arm: str, size: int) -> dict[float, float]:
    """The share of a cell by rate, of the runs that are there."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    held = {rate: cells[arm, size, rate] for rate in RUN.RATES}
    return {rate: accuracy(each) for rate, each in held.items() if each}


def best(found: Found, arm: str) -> list[float]:
    """The share of each size of an arm at its best rate, from the smallest state on."""
    return [max(shares(found, arm, size).values()) for size in range(len(RUN.ARMS[arm]))]


def told(some: list[float]) -> str:
    """Shares in percent."""
    return ", ".join(f"{each:.1%}" for each in some)


def solves(found: Found) -> Verdict:
    """Exact attention answers as good as every question, whatever its heads."""
    some = best(found, EXACT)
    return Verdict(min(some) >= SOLVED, told(some))


def grows(found: Found) -> Verdict:
    """In each linear arm the largest state answers more than the smallest."""
    each = {arm: best(found, arm) for arm in LINEAR}
    figures = "; ".join(f"{arm} {told([some[0], some[-1]])}" for arm, some in each.items())
    return Verdict(all(some[-1] >= some[0] + MORE for some in each.values()), figures)


def falls_short(found: Found) -> Verdict:
    """No linear arm answers as good as every question from its smallest state."""
    each = {arm: best(found, arm)[0] for arm in LINEAR}
    return Verdict(max(each.values()) < SOLVED, ", ".join(f"{arm} {share:.1%}" for arm, share in each.items()))


def replaces(found: Found) -> Verdict:
    """The delta rule answers more than retention and gates from states of the same size, where it does not answer all.

    It may be equal where both answer as good as every question.
    """
    ours, held = best(found, DELTA), []
    for arm in ADDITIVE:
        theirs = best(found, arm)
        held += [a >= b + MORE or min(a, b) >= SOLVED for a, b in zip(ours, theirs, strict=True)]
    figures = "; ".join(f"{arm} {told(best(found, arm))}" for arm in (DELTA, *ADDITIVE))
    return Verdict(all(held), figures)


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. exact attention answers 99% of the questions": solves,
    "2. the larger state answers more, in each linear arm": grows,
    "3. no linear arm answers 99% from its smallest state": falls_short,
    "4. the delta rule answers more than sums of the same size": replaces,
}


def text(found: Found) -> str:
    """Verdict, the arms and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, found.missing)
    rates = [f"right at {rate:g}" for rate in RUN.RATES]
    lines += ["", "### The arms", "", *row("arm", "heads", "bytes of a layer's state", *rates, head="head")]
    for arm, sizes in RUN.ARMS.items():
        for size, (heads, _) in enumerate(sizes):
            held = shares(found, arm, size)
            cells = (f"{held[rate]:.1%}" if rate in held else "–" for rate in RUN.RATES)
            lines += row(arm, str(heads), f"{state_bytes(arm, size):,}", *cells)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Questions answered at the best rate, against what a layer carries."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for arm, style in zip(RUN.ARMS, ("k*", "o-", "s-", "^-", "v-", "D-"), strict=True):
        each = {state_bytes(arm, size): shares(found, arm, size) for size in range(len(RUN.ARMS[arm]))}
        points = [(size, max(held.values())) for size, held in each.items() if held]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=arm)
    axes.set(
        xscale="log", xlabel="decoding state of a layer (bytes)", ylabel="held-out questions answered", ylim=(0, 1.03)
    )
    axes.grid(alpha=0.3)
    if found.missing < len(found.held):
        axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
