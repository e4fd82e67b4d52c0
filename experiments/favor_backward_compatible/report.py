"""What was measured as a verdict by rules that came before it, tables by arm and step, and a picture.

python experiments/favor_backward_compatible/report.py [--smoke]: renews report.png and the part of README.md between
its marks.
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
REDRAWN, KEPT = RUN.ARMS
SOFTMAX, SCRATCH = "softmax", "scratch"
START, *_, END = RUN.READ_AT
# of the softmax model's accuracy, what is left right after at most; and nats per byte that "recovered" leaves
SHARE, RECOVERED = 0.5, 0.1
OPEN = Verdict(None, "not all there")

# what was read of a seed
Points = Sequence[dict[str, Any]]


def measured(found: Found) -> list[dict[str, Any] | None]:
    """The file of each seed, None where there is none."""
    files = [found.home / READ / f"seed-{seed}.json" for seed in RUN.SEEDS]
    return [json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None for file in files]


def points(found: Found) -> list[Points] | None:
    """What `measure.py` kept of each seed; None where a seed is missing or is another run's."""
    held = measured(found)
    if None in held or any(each["digest"] != names.digest(RUN.CELLS[seed]) for seed, each in enumerate(held)):
        return None
    return [each["points"] for each in held]


def figures(seeds: Sequence[Points], what: str, **match: Any) -> Float[np.ndarray, " seeds"]:
    """Of the point of each seed that has these values, and of no other draw where none is asked for."""
    match = {"directions": None, **match}
    return np.array(
        [next(each[what] for each in held if all(each.get(k) == v for k, v in match.items())) for held in seeds]
    )


def best(seeds: Sequence[Points], arm: str, weights: str, **match: Any) -> dict[str, Any]:
    """The arm at its last step, at the rate that is best there by the mean loss."""
    ends = [{"arm": arm, "weights": weights, "rate": rate, "step": END, **match} for rate in RUN.RATES]
    return min(ends, key=lambda end: figures(seeds, "loss", **{**end, "directions": None}).mean())


def told(*some: Float[np.ndarray, " seeds"]) -> str:
    """Figures by seed, of one arm beside another."""
    return " beside ".join(", ".join(f"{each:.3f}" for each in one) for one in some)


def before(seeds: Sequence[Points], what: str) -> Float[np.ndarray, " seeds"]:
    """Of the softmax models."""
    return figures(seeds, what, arm=SOFTMAX)


def falls(seeds: Sequence[Points]) -> Verdict:
    """Right after the change the share of bytes guessed is at most half of what it was."""
    after = figures(seeds, "accuracy", arm=REDRAWN, weights=SOFTMAX, rate=RUN.RATES[0], step=START)
    was = before(seeds, "accuracy")
    return Verdict(bool((after <= SHARE * was).all()), told(after, was))


def recovers(seeds: Sequence[Points]) -> Verdict:
    """A tenth of the steps brings the loss back."""
    ours, was = figures(seeds, "loss", **best(seeds, REDRAWN, SOFTMAX)), before(seeds, "loss")
    return Verdict(bool((ours <= was + RECOVERED).all()), told(ours, was))


def worth(seeds: Sequence[Points]) -> Verdict:
    """The softmax weights are worth something: both arms end below the same from scratch."""
    pairs = [[figures(seeds, "loss", **best(seeds, arm, each)) for each in (SOFTMAX, SCRATCH)] for arm in RUN.ARMS]
    held = all((ours < other).all() for ours, other in pairs)
    return Verdict(held, "; ".join(f"{arm} {told(*pair)}" for arm, pair in zip(RUN.ARMS, pairs, strict=True)))


def lower(seeds: Sequence[Points]) -> Verdict:
    """Redrawn ends no higher than kept, each read with its own directions, by the mean."""
    ours, other = (figures(seeds, "loss", **best(seeds, arm, SOFTMAX)) for arm in (REDRAWN, KEPT))
    return Verdict(bool(ours.mean() <= other.mean()), told(ours, other))


def free(seeds: Sequence[Points]) -> Verdict:
    """Read with directions drawn anew, redrawn is below kept."""
    ours, other = (figures(seeds, "loss", **best(seeds, arm, SOFTMAX, directions="anew")) for arm in (REDRAWN, KEPT))
    return Verdict(bool((ours < other).all()), told(ours, other))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Sequence[Points]], Verdict]] = {
    "1. right after, at most half of the accuracy is left": falls,
    "2. a tenth of the steps brings the loss back to within 0.1": recovers,
    "3. from scratch, as many steps end higher": worth,
    "4. redrawn ends no higher than kept": lower,
    "5. read with directions drawn anew, redrawn is below kept": free,
}


def text(found: Found) -> str:
    """Verdict, losses and accuracies by arm, and machine, as Markdown."""
    held, seeds = measured(found), points(found)
    missing = sum(each is None for each in held)
    lines = reports.judged({name: OPEN if seeds is None else rule(seeds) for name, rule in RULES.items()}, missing)
    if seeds is not None:
        lines += ["", "### Held-out nats per byte (share of bytes guessed), means of the seeds", ""]
        steps = [f"after {step}" for step in RUN.READ_AT]
        lines += row("directions", "weights of", "rate", *steps, "with directions drawn anew", head="head")
        for arm in RUN.ARMS:
            for weights in (SOFTMAX, SCRATCH):
                for rate in RUN.RATES:
                    same = {"arm": arm, "weights": weights, "rate": rate}
                    cells = [{**same, "step": step} for step in RUN.READ_AT]
                    cells.append({**same, "step": END, "directions": "anew"})
                    lines += row(arm, weights, f"{rate:g}", *(_cell(seeds, cell) for cell in cells))
        lines += ["", f"The softmax models, {RUN.STEPS} steps: {_cell(seeds, {'arm': SOFTMAX})}."]
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(held)])


def _cell(seeds: Sequence[Points], match: dict[str, Any]) -> str:
    loss, accuracy = (figures(seeds, what, **match).mean() for what in ("loss", "accuracy"))
    return f"{loss:.3f} ({accuracy:.1%})"


def picture(found: Found) -> Figure:
    """Losses over the few steps, a panel a rate, beside those of the softmax models."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(RUN.RATES), sharey=True)
    if (seeds := points(found)) is None:
        return figure
    for axes, rate in zip(panels, RUN.RATES, strict=True):
        for arm, color in zip(RUN.ARMS, ("tab:blue", "tab:orange"), strict=True):
            for weights, style in ((SOFTMAX, "o-"), (SCRATCH, "s--")):
                held = np.array(
                    [figures(seeds, "loss", arm=arm, weights=weights, rate=rate, step=step) for step in RUN.READ_AT]
                )
                label = f"{arm}, weights of {weights}" if weights == SOFTMAX else f"{arm}, from scratch"
                axes.plot(RUN.READ_AT, held.mean(1), style, color=color, label=label)
                axes.fill_between(RUN.READ_AT, held.min(1), held.max(1), color=color, alpha=0.15)
        axes.axhline(before(seeds, "loss").mean(), color="black", linestyle=":", label="softmax, before")
        axes.set(title=f"rate {rate:g}", xlabel="steps after the change", ylabel="held-out nats per byte")
        axes.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
