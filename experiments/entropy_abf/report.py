"""What was measured as a verdict by rules that came before it, tables by length, and a picture.

python experiments/entropy_abf/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, names, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
READ = "read"
PLAIN, BASE, PUBLISHED, SHIPPED = RUN.ARMS
HERE_AND_LONG = RUN.CONTEXT, RUN.TARGET
# nats per byte; what a model loses that cannot read longer
HARM = 0.05
OPEN = Verdict(None, "not all there")

# losses and entropies of a seed by arm, rate and length
Points = dict[tuple[str, float, int], dict[str, Any]]


def points(found: Found) -> list[Points] | None:
    """What `measure.py` kept of each seed; None where a seed is missing or is another run's."""
    held = measured(found)
    if None in held or any(each["digest"] != names.digest(RUN.CELLS[seed]) for seed, each in enumerate(held)):
        return None
    return [{(each["arm"], each["rate"], each["length"]): each for each in seed["points"]} for seed in held]


def measured(found: Found) -> list[dict[str, Any] | None]:
    """The file of each seed, None where there is none."""
    files = [found.home / READ / f"seed-{seed}.json" for seed in RUN.SEEDS]
    return [json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None for file in files]


def losses(seeds: Sequence[Points], arm: str, length: int, rate: float) -> Float[np.ndarray, " seeds"]:
    """Nats per byte by seed."""
    return np.array([held[arm, rate, length]["loss"] for held in seeds])


def rises(seeds: Sequence[Points], arm: str, rate: float) -> Float[np.ndarray, "seeds l"]:
    """By how much the entropy of each layer's rows is above that at the context of training, in nats."""
    short, long = ([held[arm, rate, length]["entropy"] for held in seeds] for length in HERE_AND_LONG)
    return np.array(long) - np.array(short)


def best(seeds: Sequence[Points], arm: str) -> float:
    """The rate of the few steps that is best for the arm at the length it is tuned for."""
    return min(RUN.RATES, key=lambda rate: losses(seeds, arm, RUN.TARGET, rate).mean())


def told(*figures: Float[np.ndarray, " seeds"]) -> str:
    """Losses by seed, of one arm beside another."""
    return " beside ".join(", ".join(f"{each:.3f}" for each in some) for some in figures)


def fails_plain(seeds: Sequence[Points]) -> Verdict:
    """Read longer as it is, a model loses much."""
    short, long = (losses(seeds, PLAIN, length, 0.0) for length in HERE_AND_LONG)
    return Verdict(bool((long > short + HARM).all()), told(long, short))


def below(arm: str, other: str, *, tuned: str) -> Callable[[Sequence[Points]], Verdict]:
    """At the longer length the arm has the smaller loss from every seed, each arm tuned at its best rate or not."""

    def rule(seeds: Sequence[Points]) -> Verdict:
        rates = [best(seeds, each) if tuned == "tuned" else 0.0 for each in (arm, other)]
        figures = [losses(seeds, each, RUN.TARGET, rate) for each, rate in zip((arm, other), rates, strict=True)]
        return Verdict(bool((figures[0] < figures[1]).all()), told(*figures))

    return rule


def reads_longer(seeds: Sequence[Points]) -> Verdict:
    """After the few steps, the longer length costs no more than the context of training did before them."""
    short = losses(seeds, PLAIN, RUN.CONTEXT, 0.0)
    long = losses(seeds, PUBLISHED, RUN.TARGET, best(seeds, PUBLISHED))
    return Verdict(bool((long <= short).all()), told(long, short))


def keeps_entropy(seeds: Sequence[Points]) -> Verdict:
    """In the layers that are sharpened, untuned, the entropy of rows moves less than with the larger base alone."""
    ours, base = (np.abs(rises(seeds, arm, 0.0)[:, 2:]).mean(1) for arm in (PUBLISHED, BASE))
    return Verdict(bool((ours < base).all()), told(ours, base))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Sequence[Points]], Verdict]] = {
    "1. plain and untuned, four contexts cost more than one": fails_plain,
    "2. tuned, the larger base is better than none": below(BASE, PLAIN, tuned="tuned"),
    "3. untuned, sharper rows are better than the base alone": below(PUBLISHED, BASE, tuned="untuned"),
    "4. tuned, sharper rows are better than the base alone": below(PUBLISHED, BASE, tuned="tuned"),
    "5. tuned as published, four contexts cost no more than one did": reads_longer,
    "6. sharper rows keep their entropy better": keeps_entropy,
    "7. tuned as published is better than as shipped": below(PUBLISHED, SHIPPED, tuned="tuned"),
}


def text(found: Found) -> str:
    """Verdict, losses by length, entropies, and machine, as Markdown."""
    held, seeds = measured(found), points(found)
    missing = sum(each is None for each in held)
    verdicts = {name: OPEN if seeds is None else rule(seeds) for name, rule in RULES.items()}
    lines = reports.judged(verdicts, missing)
    if seeds is not None:
        lines += ["", "### Held-out nats per byte, mean of the seeds (deviation)", ""]
        lines += row("arm", "tuned at", *map(str, RUN.LENGTHS), head="head")
        for arm in RUN.ARMS:
            for rate in (0.0, *RUN.RATES):
                cells = [losses(seeds, arm, length, rate) for length in RUN.LENGTHS]
                shown = [f"{each.mean():.3f} ({each.std(ddof=1):.3f})" for each in cells]
                lines += row(arm, f"{rate:g}" if rate else "no step", *shown)
        lines += ["", f"### Entropy of rows at {RUN.TARGET} above that at {RUN.CONTEXT}, nats, mean of the seeds", ""]
        lines += row("arm", "tuned at", *(f"layer {layer}" for layer in range(RUN.MODEL.depth)), head="head")
        for arm in RUN.ARMS:
            for rate in (0.0, best(seeds, arm)):
                shown = [f"{each:+.2f}" for each in rises(seeds, arm, rate).mean(0)]
                lines += row(arm, f"{rate:g}" if rate else "no step", *shown)
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(held)])


def picture(found: Found) -> Figure:
    """Losses over lengths, as the model was and tuned at each arm's best rate, and the rise of entropy by layer."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    panels = figure.subplots(1, 3)
    if (seeds := points(found)) is None:
        return figure
    for axes, title in zip(panels, ("as trained", f"after {RUN.TUNING_STEPS} steps at {RUN.TARGET}"), strict=False):
        for arm, style in zip(RUN.ARMS, ("o-", "s-", "^-", "v--"), strict=True):
            rate = 0.0 if title == "as trained" else best(seeds, arm)
            held = np.array([losses(seeds, arm, length, rate) for length in RUN.LENGTHS])
            (line,) = axes.plot(RUN.LENGTHS, held.mean(1), style, label=arm)
            axes.fill_between(RUN.LENGTHS, held.min(1), held.max(1), color=line.get_color(), alpha=0.15)
        axes.set_xscale("log", base=2)
        axes.set(title=title, xlabel="tokens read", ylabel="held-out nats per byte", xticks=RUN.LENGTHS)
        axes.axvline(RUN.CONTEXT, color="gray", linestyle=":", linewidth=1)
        axes.legend(fontsize="small")
    for number, arm in enumerate(RUN.ARMS):
        where = np.arange(RUN.MODEL.depth) + (number - 1.5) / 5
        panels[2].bar(where, rises(seeds, arm, 0.0).mean(0), 1 / 5, label=arm)
    panels[2].set(
        title=f"entropy at {RUN.TARGET} above {RUN.CONTEXT}, as trained", xlabel="layer", ylabel="nats",
        xticks=range(RUN.MODEL.depth),
    )  # fmt: skip
    panels[2].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
