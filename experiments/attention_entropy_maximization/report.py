"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/attention_entropy_maximization/report.py [--smoke]: renews report.png and the part of README.md
between its marks.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, accuracy, loss, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
NONE, OURS = 0.0, 0.1
# shares of the held-out bags: what is clearly more than a coin's half, and what the claim promises at least
LEARNED, GAIN = 0.6, 0.01
OPEN = Verdict(None, "not all there")


def seeds(found: Found, weight: float, rate: float) -> list[dict[str, Any] | None]:
    """The results of a cell of the grid."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    return [cells[weight, rate, seed] for seed in RUN.SEEDS]


def entropy(held: dict[str, Any]) -> float:
    """Of the attention over the bags of the last step that was kept, in nats."""
    return float(np.mean([point["entropy"] for point in held["points"] if "entropy" in point][-1]))


def best(found: Found, weight: float, what: Callable = accuracy) -> Float[np.ndarray, " seeds"]:
    """A figure of each seed, at the rate whose mean accuracy is best for this weight."""
    cells = [seeds(found, weight, rate) for rate in RUN.RATES]
    return np.array(list(map(what, max(cells, key=lambda cell: np.mean(list(map(accuracy, cell)))))))


def shares(some: Float[np.ndarray, " seeds"]) -> str:
    """Shares by seed in percent, and their mean."""
    return f"{', '.join(f'{each:.1%}' for each in some)}, mean {some.mean():.1%}"


def learns(found: Found) -> Verdict:
    """Without a penalty, every seed tells more bags apart than a coin would."""
    some = best(found, NONE)
    return Verdict(bool((some > LEARNED).all()), shares(some))


def widens(found: Found) -> Verdict:
    """At each rate and from each seed, attention ends with more entropy with the penalty."""
    pairs = [
        tuple(map(entropy, each))
        for rate in RUN.RATES
        for each in zip(seeds(found, OURS, rate), seeds(found, NONE, rate), strict=True)
    ]
    told = ", ".join(f"{ours:.2f} beside {none:.2f}" for ours, none in pairs)
    return Verdict(all(ours > none for ours, none in pairs), told)


def gains(found: Found) -> Verdict:
    """The mean accuracy is higher by a point at least."""
    ours, none = best(found, OURS), best(found, NONE)
    return Verdict(bool(ours.mean() >= none.mean() + GAIN), f"{shares(ours)} beside {shares(none)}")


def overfits_less(found: Found) -> Verdict:
    """The held-out loss is lower from each seed."""
    ours, none = best(found, OURS, loss), best(found, NONE, loss)
    told = " beside ".join(", ".join(f"{each:.3f}" for each in some) for some in (ours, none))
    return Verdict(bool((ours < none).all()), told)


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. without a penalty, bags are learned": learns,
    "2. attention ends wider with it": widens,
    "3. more held-out bags are right, by a point": gains,
    "4. the held-out loss is lower": overfits_less,
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    verdicts = {name: OPEN if found.missing else rule(found) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, found.missing)
    columns = "weight", "rate", "held-out bags right, by seed", "held-out loss", "training loss", "entropy, nats"
    lines += ["", "### The grid", "", *row(*columns, head="head")]
    for weight in RUN.WEIGHTS:
        for rate in RUN.RATES:
            held = [each for each in seeds(found, weight, rate) if each]
            if not held:
                lines += row(f"{weight:g}", f"{rate:g}", *"––––")
                continue
            right = shares(np.array(list(map(accuracy, held))))
            means = [np.mean([what(each) for each in held]) for what in (loss, training_loss, entropy)]
            lines += row(f"{weight:g}", f"{rate:g}", right, *(f"{each:.3f}" for each in means))
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def training_loss(held: dict[str, Any]) -> float:
    """Of the last twentieth of the steps, penalty included, in nats; infinite where the run diverged."""
    return math.inf if "diverged" in held["reached"] else held["reached"]["train_loss"]


def picture(found: Found) -> Figure:
    """Accuracy and held-out loss over the weight, and entropy over training."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    right, lost, wide = figure.subplots(1, 3)
    places = range(len(RUN.WEIGHTS))
    for rate, style in zip(RUN.RATES, ("o-", "s--"), strict=True):
        for axes, what in ((right, accuracy), (lost, loss)):
            held = [[what(each) for each in seeds(found, weight, rate) if each] for weight in RUN.WEIGHTS]
            there = [(place, some) for place, some in zip(places, held, strict=True) if some]
            if there:
                x, means = [place for place, _ in there], [np.mean(some) for _, some in there]
                (line,) = axes.plot(x, means, style, label=f"rate {rate:g}, mean")
                dots = [(place, each) for place, some in there for each in some]
                axes.plot(*zip(*dots, strict=True), ".", color=line.get_color(), alpha=0.5)
                axes.legend(fontsize="small")
    for weight, color in zip(RUN.WEIGHTS, ("tab:gray", "tab:blue", "tab:purple", "tab:red"), strict=True):
        for rate, style in zip(RUN.RATES, ("-", "--"), strict=True):
            for each in filter(None, seeds(found, weight, rate)):
                points = [(point["step"], np.mean(point["entropy"])) for point in each["points"] if "entropy" in point]
                wide.plot(*zip(*points, strict=True), style, color=color, linewidth=0.8)
        wide.plot([], [], color=color, label=f"weight {weight:g}")
    labels = [f"{weight:g}" for weight in RUN.WEIGHTS]
    right.set(xlabel="weight of the penalty", ylabel="share of held-out bags right", xticks=places, xticklabels=labels)
    lost.set(xlabel="weight of the penalty", ylabel="held-out loss (nats per bag)", xticks=places, xticklabels=labels)
    wide.set(xlabel="step", ylabel="entropy of attention (nats)")
    wide.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
