"""Results of the sweep as a verdict by rules that came before it, a table of the arms, and a picture.

python experiments/mega_recall/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
from flax import nnx
from matplotlib.figure import Figure

from jattn.models.decoder import Decoder
from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
EXACT, MEGA, NEARER, CHUNK, NONE, S4D = RUN.ARMS
# shares of the questions: by chance of one who knows the values of an example, and of one who knows nothing
KNOWN, BLIND = 1 / RUN.RECALL.SOURCE.pairs, 1 / RUN.RECALL.SOURCE.values
# answered as good as all; what counts as more than chance, and as more than another arm
SOLVED, TIMES, MORE = 0.99, 2, 0.05
OPEN = Verdict(None, "not all there")


def state_bytes(arm: str) -> int:
    """What the layer carries to decode after a whole example, in bytes; its convolution or average included."""

    def held():
        return Decoder(RUN.ARMS[arm], rngs=nnx.Rngs(0)).state(1, RUN.RECALL.CONTEXT)

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(held)))


def shares(found: Found, arm: str) -> dict[float, float]:
    """The share of the questions that an arm answers by rate, of the runs that are there."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    held = {rate: cells[arm, rate] for rate in RUN.RATES}
    return {rate: reports.accuracy(each) for rate, each in held.items() if each}


def best(found: Found, arm: str) -> float:
    """The share at the better rate."""
    return max(shares(found, arm).values())


def told(found: Found, *arms: str) -> str:
    """Shares in percent."""
    return ", ".join(f"{arm} {best(found, arm):.1%}" for arm in arms)


def solves(found: Found) -> Verdict:
    """Exact attention and Mega over all keys answer as good as every question."""
    return Verdict(min(best(found, EXACT), best(found, MEGA)) >= SOLVED, told(found, EXACT, MEGA))


def guesses(arm: str) -> Callable[[Found], Verdict]:
    """Little more than one who knows the values of an example, and not whose they are."""
    return lambda found: Verdict(best(found, arm) <= TIMES * KNOWN, told(found, arm))


def carries(found: Found) -> Verdict:
    """More than one who knows nothing of the example."""
    return Verdict(best(found, CHUNK) >= TIMES * BLIND, told(found, CHUNK))


def reaches(found: Found) -> Verdict:
    """Pairs within the questions' chunk are recalled."""
    return Verdict(best(found, NEARER) >= best(found, CHUNK) + MORE, told(found, NEARER, CHUNK))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. Mega over all keys answers 99% of the questions, as exact attention does": solves,
    "2. without its average it answers at most twice what guesses among the values do": guesses(NONE),
    "3. nor more than that in chunks that part questions from pairs": guesses(CHUNK),
    "4. but there at least twice what blind guesses do": carries,
    "5. with two pairs in the questions' chunk it answers 5 points more": reaches,
    "6. S4D answers at most twice what guesses among the values do": guesses(S4D),
}


def text(found: Found) -> str:
    """Verdict, the arms and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = [*reports.judged(verdicts, found.missing), "", "### The arms", ""]
    lines += row("arm", "bytes of the layer's state", *(f"right at {rate:g}" for rate in RUN.RATES), head="head")
    for arm in RUN.ARMS:
        held = shares(found, arm)
        cells = (f"{held[rate]:.1%}" if rate in held else "–" for rate in RUN.RATES)
        lines += row(arm, f"{state_bytes(arm):,}", *cells)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Training losses at both rates, and held-out questions answered, by arm."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    curves, dots = figure.subplots(1, 2)
    colors = dict(zip(RUN.ARMS, ("black", "tab:blue", "tab:cyan", "tab:green", "tab:orange", "tab:red"), strict=True))
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    for rate, style, mark in zip(RUN.RATES, ("-", "--"), "os", strict=True):
        for place, arm in enumerate(RUN.ARMS):
            points = [(point["step"], point["loss"]) for point in (cells[arm, rate] or {"points": []})["points"]]
            if points:
                curves.plot(*zip(*points, strict=True), style, color=colors[arm], linewidth=0.8)
            if (share := shares(found, arm).get(rate)) is not None:
                dots.plot(place, share, mark, color=colors[arm])
        curves.plot([], [], style, color="gray", label=f"rate {rate:g}")
        dots.plot([], [], mark, color="gray", label=f"rate {rate:g}")
    for arm, color in colors.items():
        curves.plot([], [], color=color, label=arm)
    dots.axhline(KNOWN, color="gray", linestyle=":", label="guesses among the values")
    dots.axhline(BLIND, color="gray", linestyle="-.", label="blind guesses")
    curves.set(xlabel="step", ylabel="training loss (nats per question)")
    dots.set(ylabel="held-out questions answered", ylim=(0, 1.03), xticks=range(len(RUN.ARMS)))
    dots.set_xticklabels([arm.replace(", ", ",\n").replace(" without", "\nwithout") for arm in RUN.ARMS], fontsize=8)
    # between the arms that learn and the others
    curves.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 0.1))
    dots.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
