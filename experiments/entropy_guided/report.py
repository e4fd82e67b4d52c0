"""Results of the sweep as a verdict by rules that came before it, tables beside the paper's, and a picture.

python experiments/entropy_guided/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jattn.mechanisms.entropy_bands import BANDS, causal_ceiling, entropy_bands
from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
# perplexities of the paper's Table 2 and of its Table 4, GPT-2 with 12 layers, 128 tokens
PAPER = {
    "SM+LN+G": 2.69, "SM+LN+R": 2.76, "SM+LN": 3.38, "SM+G": 3.20, "SM+R": 2.94, "SM": math.nan, "SM+ScFFN": 3.50,
    "SM+ScFuFFN": 3.48, "EReg 0.2": 3.21,
}  # fmt: skip
# the ablation on a smaller model: the feed-forward layers' kernels normalized, or learned scales
PAPER_STATIC = {"SM+weight norm": 3.640, "SM+spectral norm": 3.624, "SM+ScFFN": 3.478}
# of the paper's figure of heads: shares in the top quarter without norms, and in the middle half with them
PAPER_OVERLOADED = {"SM+G": 0.58, "SM": 0.45, "SM+R": 0.23}
MIDDLE = 0.8
TOLERANCES = ("EReg 0.1", "EReg 0.2", "EReg 0.3")
OPEN = Verdict(None, "not all there")


class Arm(NamedTuple):
    """What one block reached at its best rate: losses by seed, nats per byte, infinite where it diverged; its heads."""

    rate: float
    losses: list[float]
    entropy: list[np.ndarray]
    mean: float


def loss(held: dict[str, Any]) -> float:
    """Held-out, in nats per byte; infinite where the run diverged."""
    return math.inf if "diverged" in held["reached"] else held["reached"]["heldout_loss"]


def at(found: Found, name: str, seeds: tuple[int, ...] = RUN.SEEDS) -> dict[float, list[dict[str, Any]]] | None:
    """The results of a block by rate, of these seeds; None where one is missing."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    held = {rate: [cells[name, rate, seed] for seed in seeds] for rate in RUN.RATES}
    return None if any(each is None for results in held.values() for each in results) else held


def best(found: Found, name: str, seeds: tuple[int, ...] = RUN.SEEDS) -> Arm | None:
    """Of the rates the one with the least mean loss over the seeds; the first where all diverge."""
    if not seeds or (held := at(found, name, seeds)) is None:
        return None
    means = {rate: float(np.mean([loss(each) for each in results])) for rate, results in held.items()}
    rate = min(means, key=means.__getitem__)
    shown = [each["points"][-1]["entropy"] for each in held[rate] if "diverged" not in each["reached"]]
    return Arm(rate, [loss(each) for each in held[rate]], [np.array(each) for each in shown], means[rate])


def so_far(found: Found, name: str) -> Arm | None:
    """The same of those seeds from which every rate has run, for tables and picture alone."""
    return best(found, name, tuple(seed for seed in RUN.SEEDS if at(found, name, (seed,))))


def shares(arm: Arm) -> np.ndarray:
    """Of the heads of all seeds, the share in each quarter of the largest entropy of its own model."""
    bands = np.concatenate([np.asarray(entropy_bands(each)).ravel() for each in arm.entropy])
    return np.bincount(bands, minlength=len(BANDS)) / len(bands)


def below(first: str, second: str, found: Found) -> Verdict:
    """Each at its best rate, every seed of the first has a lower loss than every seed of the second."""
    arms = best(found, first), best(found, second)
    if None in arms:
        return OPEN
    told = " beside ".join(f"{arm.mean:.3f} ({min(arm.losses):.3f} to {max(arm.losses):.3f})" for arm in arms)
    return Verdict(max(arms[0].losses) < min(arms[1].losses), told)


def diverges(found: Found) -> Verdict:
    """No run of softmax alone ends with a finite loss."""
    if (held := at(found, "SM")) is None:
        return OPEN
    ended = [math.isinf(loss(each)) for seeds in held.values() for each in seeds]
    return Verdict(all(ended), f"{sum(ended)} of {len(ended)} runs")


def overload(found: Found) -> Verdict:
    """Without norms, a larger share of heads is in the top quarter under GELU than under ReLU."""
    arms = best(found, "SM+G"), best(found, "SM+R")
    if None in arms or not all(arm.entropy for arm in arms):
        return OPEN
    gelu, relu = (shares(arm)[-1] for arm in arms)
    return Verdict(bool(gelu > relu), f"{gelu:.0%} beside {relu:.0%}")


def well_behaved(found: Found) -> Verdict:
    """With norms and GELU at least four fifths of the heads are in the middle half."""
    if (arm := best(found, "SM+LN+G")) is None:
        return OPEN
    middle = shares(arm)[1:3].sum()
    return Verdict(bool(middle >= MIDDLE), f"{middle:.0%}")


def tolerances(found: Found) -> Verdict:
    """The share of heads in the top quarter does not fall where the band grows."""
    arms = [best(found, name) for name in TOLERANCES]
    if None in arms or not all(arm.entropy for arm in arms):
        return OPEN
    top = [shares(arm)[-1] for arm in arms]
    return Verdict(top == sorted(top), ", ".join(f"{share:.0%}" for share in top))


def adopted(found: Found) -> Verdict:
    """Of the three tolerances the paper's 0.2 has the least mean loss."""
    arms = [best(found, name) for name in TOLERANCES]
    if None in arms:
        return OPEN
    means = [arm.mean for arm in arms]
    return Verdict(means[1] == min(means), ", ".join(f"{mean:.3f}" for mean in means))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. SM+LN+G below SM+LN+R": functools.partial(below, "SM+LN+G", "SM+LN+R"),
    "2. SM+LN+R below SM+R": functools.partial(below, "SM+LN+R", "SM+R"),
    "3. SM+R below SM+G": functools.partial(below, "SM+R", "SM+G"),
    "4. SM+G below SM+LN": functools.partial(below, "SM+G", "SM+LN"),
    "5. SM diverges": diverges,
    "6. learned scales below weight normalization": functools.partial(below, "SM+ScFFN", "SM+weight norm"),
    "7. learned scales below spectral normalization": functools.partial(below, "SM+ScFFN", "SM+spectral norm"),
    "8. EReg(SM(t)+ScFuFFN) below SM+ScFuFFN": functools.partial(below, "EReg 0.2", "SM+ScFuFFN"),
    "9. more overloaded heads in SM+G than in SM+R": overload,
    "10. SM+LN+G: 80 % of heads in the middle half": well_behaved,
    "11. overloaded heads do not fall as the tolerance grows": tolerances,
    "12. tolerance 0.2 has the least loss": adopted,
}


def text(found: Found) -> str:
    """Verdict, tables and machine, as Markdown."""
    lines = reports.judged({name: rule(found) for name, rule in RULES.items()}, found.missing)
    columns = ("block", "best rate", "held-out loss, nats per byte, by seed", "perplexity per byte", "paper, per token")
    lines += ["", "### Losses", "", *row(*columns, head="head")]
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    for name in RUN.ARMS:
        arm, published = so_far(found, name), PAPER.get(name, PAPER_STATIC.get(name))
        paper = "" if published is None else f"{published:.3g}" if name in PAPER else f"{published:.3f}, smaller model"
        if arm is None:
            there = [cells[name, rate, seed] is not None for rate in RUN.RATES for seed in RUN.SEEDS]
            lines += row(name, "", f"{sum(there)} of {len(there)} runs", "", paper)
        else:
            told = " ".join(map(shown, arm.losses))
            edge = ", the grid's end" if arm.rate in (RUN.RATES[0], RUN.RATES[-1]) else ""
            lines += row(name, f"{arm.rate:g}{edge}", told, shown(math.exp(arm.mean)), paper)
    lines += [
        "",
        "### By rate, mean over the seeds that are there",
        "",
        *row("block", *map("{:g}".format, RUN.RATES), head="head"),
    ]
    for name in RUN.ARMS:
        held = [[cells[name, rate, seed] for seed in RUN.SEEDS] for rate in RUN.RATES]
        there = [[loss(each) for each in seeds if each] for seeds in held]
        lines += row(name, *(f"{shown(np.mean(seeds))} ({len(seeds)})" if seeds else "–" for seeds in there))
    ceiling = causal_ceiling(RUN.CONTEXT)
    columns = ("block", *BANDS, f"largest entropy (ceiling {ceiling:.3f})", "paper, overloaded")
    lines += [
        "",
        "### Heads by quarter of their model's largest entropy, at the best rate",
        "",
        *row(*columns, head="head"),
    ]
    for name in RUN.ARMS:
        arm = so_far(found, name)
        if arm is not None and arm.entropy:
            top = " ".join(f"{each.max():.2f}" for each in arm.entropy)
            paper = f"{PAPER_OVERLOADED[name]:.0%}" if name in PAPER_OVERLOADED else ""
            lines += row(name, *(f"{share:.0%}" for share in shares(arm)), top, paper)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def shown(value: float) -> str:
    """Three digits, or that there is no number."""
    return f"{value:.3f}" if math.isfinite(value) else "diverged"


def picture(found: Found) -> Figure:
    """Losses, heads by band, loss against rate, and every head of every block at the end."""
    figure = Figure(figsize=(13, 10), layout="constrained")
    (losses, bands), (rates, heads) = figure.subplots(2, 2)
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    names = list(RUN.ARMS)
    marks = dict(zip(RUN.RATES, "v^s", strict=True))
    for place, name in enumerate(names):
        for rate in RUN.RATES:
            values = [loss(cells[name, rate, seed]) for seed in RUN.SEEDS if cells[name, rate, seed]]
            finite = [value for value in values if math.isfinite(value)]
            losses.plot(finite, [place] * len(finite), marks[rate], color=f"C{RUN.RATES.index(rate)}", alpha=0.7)
    for rate in RUN.RATES:
        losses.plot([], [], marks[rate], color=f"C{RUN.RATES.index(rate)}", label=f"rate {rate:g}")
    losses.set(xlabel="held-out loss (nats per byte)", title="every run")
    losses.set_yticks(range(len(names)), names)
    losses.invert_yaxis()
    losses.legend(fontsize="small")
    reached = {name: arm for name in names if (arm := so_far(found, name)) is not None and arm.entropy}
    colors = ("tab:blue", "tab:cyan", "tab:olive", "tab:red")
    left = np.zeros(len(reached))
    for band, color in zip(range(len(BANDS)), colors, strict=True):
        width = np.array([shares(arm)[band] for arm in reached.values()])
        bands.barh(range(len(reached)), width, left=left, color=color, label=BANDS[band])
        left += width
    bands.set(xlabel="share of heads at the best rate", title="quarter of the model's largest entropy")
    bands.set_yticks(range(len(reached)), list(reached))
    bands.invert_yaxis()
    if reached:
        bands.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(BANDS))
    for number, name in enumerate(names):
        held = [[loss(each) for seed in RUN.SEEDS if (each := cells[name, rate, seed])] for rate in RUN.RATES]
        means = [(rate, np.mean(seeds)) for rate, seeds in zip(RUN.RATES, held, strict=True) if seeds]
        points = [point for point in means if math.isfinite(point[1])]
        if points:
            style = ("-", "--")[number >= 10]
            rates.plot(*zip(*points, strict=True), f"o{style}", color=f"C{number % 10}", label=name, markersize=4)
    rates.set(xscale="log", xlabel="rate", ylabel="held-out loss (nats per byte)", title="mean over seeds")
    rates.set_xticks(RUN.RATES, [f"{rate:g}" for rate in RUN.RATES])
    if rates.lines:
        rates.legend(fontsize="x-small", ncols=2)
    layers = np.array([np.mean(arm.entropy, 0).mean(-1) for arm in reached.values()])
    if len(layers):
        drawn = heads.imshow(layers, aspect="auto", vmin=0, vmax=causal_ceiling(RUN.CONTEXT))
        heads.set_yticks(range(len(reached)), list(reached))
        heads.set_xticks(range(layers.shape[1]))
        figure.colorbar(drawn, ax=heads, label="entropy (nats)")
    heads.set(xlabel="layer", title="mean over heads and seeds at the end; up to log(T!)/T")
    for axes in (losses, rates):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
