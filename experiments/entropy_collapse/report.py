"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/entropy_collapse/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.mechanisms.entropy_bands import causal_ceiling
from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
CEILING = causal_ceiling(RUN.CONTEXT)
# a layer whose heads' mean entropy is below this share of the ceiling has collapsed
COLLAPSED = 0.05
# nats per byte of the training text to one that knows how often each byte comes, and no context
UNIGRAM = 3.327
# the least share of plain runs that must fail, or the grid tests nothing
TESTED = 0.2
PLAIN, OURS = RUN.ARMS
OPEN = Verdict(None, "not all there")


def diverged(held: dict[str, Any]) -> bool:
    """Whether the loss ended as no number, or its last twentieth above what needs no context."""
    reached = held["reached"]
    return "diverged" in reached or reached["train_loss"] > UNIGRAM


def lowest(held: dict[str, Any]) -> float:
    """Of the layers' mean entropies at the last step that was kept, the least, in nats; none where no step was."""
    shown = [point["entropy"] for point in held["points"] if "entropy" in point]
    return float(np.mean(shown[-1], -1).min()) if shown and np.isfinite(shown[-1]).all() else math.nan


def collapsed(held: dict[str, Any]) -> bool:
    """Whether a layer's entropy has fallen to less than a twentieth of the ceiling."""
    return lowest(held) < COLLAPSED * CEILING


def failed(held: dict[str, Any]) -> bool:
    """Either."""
    return diverged(held) or collapsed(held)


def chosen(found: Found, arm: str, **match: float) -> list[dict[str, Any] | None]:
    """Results of an arm whose rate, warm-up or seed are those."""
    fields = ("arm", "rate", "warm_up", "seed")
    return [
        held
        for cell, held in zip(RUN.CELLS, found.held, strict=True)
        if {"arm": arm, **match}.items() <= dict(zip(fields, cell, strict=True)).items()
    ]


def counted(found: Found, arm: str, test: Callable[[dict[str, Any]], bool], **match: float) -> tuple[int, int] | None:
    """How many of an arm's runs pass a test, and of how many; None where one is missing."""
    held = chosen(found, arm, **match)
    return None if None in held else (sum(map(test, held)), len(held))


def tested(found: Found) -> Verdict:
    """At least a fifth of the plain runs fail."""
    if (plain := counted(found, PLAIN, failed)) is None:
        return OPEN
    return Verdict(plain[0] >= TESTED * plain[1], f"{plain[0]} of {plain[1]}")


def halved(test: Callable[[dict[str, Any]], bool]) -> Callable[[Found], Verdict]:
    """The test is passed by at most half as many runs with sigmaReparam as without, and by some without."""

    def rule(found: Found) -> Verdict:
        plain, ours = (counted(found, arm, test) for arm in RUN.ARMS)
        if plain is None or ours is None:
            return OPEN
        return Verdict(0 < plain[0] >= 2 * ours[0], f"{ours[0]} of {ours[1]} beside {plain[0]} of {plain[1]}")

    return rule


def needs_no_warm_up(found: Found) -> Verdict:
    """Without warm-up, no run with sigmaReparam fails."""
    ours = counted(found, OURS, failed, warm_up=RUN.WARM_UPS[0])
    return OPEN if ours is None else Verdict(ours[0] == 0, f"{ours[0]} of {ours[1]} fail")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. at least a fifth of the plain runs fail": tested,
    "2. with sigmaReparam at most half as many fail": halved(failed),
    "3. at most half as many end with a collapsed layer": halved(collapsed),
    "4. without warm-up none with sigmaReparam fails": needs_no_warm_up,
}


def text(found: Found) -> str:
    """Verdict, the grid and machine, as Markdown."""
    lines = reports.judged({name: rule(found) for name, rule in RULES.items()}, found.missing)
    columns = (
        "arm",
        "warm-up",
        "rate",
        "failed",
        "no number, or no context",
        "collapsed",
        "lowest layer, nats",
        "held-out loss",
    )
    lines += ["", "### The grid", "", *row(*columns, head="head")]
    for arm in RUN.ARMS:
        for warm_up in RUN.WARM_UPS:
            for rate in RUN.RATES:
                held = [each for each in chosen(found, arm, warm_up=warm_up, rate=rate) if each]
                losses = [each["reached"]["heldout_loss"] for each in held if "diverged" not in each["reached"]]
                counts = [f"{sum(map(test, held))} of {len(held)}" for test in (failed, diverged, collapsed)]
                least = [lowest(each) for each in held]
                told = f"{np.nanmin(least):.3f}" if not np.isnan(least).all() else "–"
                mean = f"{np.mean(losses):.3f}" if losses else "–"
                lines += row(arm, f"{warm_up:.0%}", f"{rate:g}", *counts, told, mean)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """The share that failed by rate, the lowest layer's entropy over training, and loss against entropy at the end."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    top, bottom = figure.subplots(2, 2)
    colors = dict(zip(RUN.RATES, ("tab:blue", "tab:green", "tab:orange", "tab:red"), strict=True))
    for arm, axes in zip(RUN.ARMS, top, strict=True):
        for (name, rate, warm_up, _), held in zip(RUN.CELLS, found.held, strict=True):
            if name == arm and held:
                shown = [point for point in held["points"] if "entropy" in point]
                lows = [np.mean(point["entropy"], -1).min() for point in shown]
                style = "-" if warm_up == RUN.WARM_UPS[0] else ":"
                axes.plot([point["step"] for point in shown], lows, style, color=colors[rate], linewidth=0.8)
        for rate, color in colors.items():
            axes.plot([], [], color=color, label=f"rate {rate:g}")
        axes.plot([], [], ":", color="gray", label="with warm-up")
        axes.axhline(COLLAPSED * CEILING, color="black", linestyle="--", linewidth=1, label="collapsed")
        axes.set(title=f"{arm}: the layer with the least entropy", xlabel="step", ylabel="entropy (nats)", ylim=(0, 4))
        axes.legend(fontsize="x-small")
    for place, (arm, warm_up) in enumerate((arm, warm_up) for arm in RUN.ARMS for warm_up in RUN.WARM_UPS):
        held = [[each for each in chosen(found, arm, warm_up=warm_up, rate=rate) if each] for rate in RUN.RATES]
        share = [np.mean([failed(each) for each in seeds]) if seeds else 0 for seeds in held]
        where = np.arange(len(RUN.RATES)) + 0.2 * place
        color = ("tab:gray", "tab:purple")[place // 2]
        label = f"{arm}, warm-up {warm_up:.0%}"
        bottom[0].bar(where, share, 0.2, color=color, alpha=(1, 0.5)[place % 2], label=label)
    bottom[0].set_xticks(np.arange(len(RUN.RATES)) + 0.3, [f"{rate:g}" for rate in RUN.RATES])
    bottom[0].set(xlabel="rate", ylabel="share of runs that failed", ylim=(0, 1.02))
    bottom[0].legend(fontsize="small")
    for arm, mark in zip(RUN.ARMS, "o^", strict=True):
        held = [each for each in chosen(found, arm) if each and "diverged" not in each["reached"]]
        points = [(lowest(each), each["reached"]["train_loss"]) for each in held]
        if points:
            bottom[1].plot(*zip(*points, strict=True), mark, alpha=0.6, label=arm)
    bottom[1].axhline(UNIGRAM, color="gray", linestyle="--", linewidth=1, label="bytes without context")
    bottom[1].axvline(COLLAPSED * CEILING, color="black", linestyle="--", linewidth=1, label="collapsed")
    bottom[1].set(xlabel="lowest layer's entropy at the end (nats)", ylabel="training loss (nats per byte)")
    bottom[1].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
