"""What was measured as a verdict by rules that came before it, tables of the last step, and a picture over training.

python experiments/entropy_bound/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, names, reports, short
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
ROWS = "rows"
# of float64 over some hundred keys far less is lost; the bound may be as near as this
ROUNDING = 1e-6
# float32 logits of some tens, over a hundred keys, in nats
INSTRUMENT = 1e-3
OPEN = Verdict(None, "not all there")


def measured(found: Found) -> dict[tuple, dict[str, Any] | None]:
    """What `measure.py` kept of each of the RUNS; None where it has not been there, or kept another run."""
    held = {}
    for cell, run in RUN.CELLS.items():
        runs = [run, short.shortened(run)]
        files = [found.home / ROWS / f"{names.digest(each)[: names.DIGITS]}.json" for each in runs]
        there = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
        held[cell] = there[0] if there else None
    return held


def over(found: Found, name: str) -> list[np.ndarray] | None:
    """A number of all runs by moment, layer and head; None where a run is missing."""
    held = measured(found).values()
    return None if None in held else [np.array([point[name] for point in each["points"]]) for each in held]


def never_crossed(rows: str, which: str, found: Found) -> Verdict:
    """No row of any head at any moment of any run has less entropy than its bound."""
    if (above := over(found, f"{rows} above {which}")) is None:
        return OPEN
    least, count = min(each.min() for each in above), sum(each.size for each in above)
    return Verdict(bool(least >= -ROUNDING), f"at least {least:.2g} nats above it, {count} heads")


def agrees(found: Found) -> Verdict:
    """The entropies that attention tells in float32 are those of float64."""
    if (apart := over(found, "instrument")) is None:
        return OPEN
    most = max(each.max() for each in apart)
    return Verdict(bool(most <= INSTRUMENT), f"at most {most:.1g} nats apart")


def smaller_products(found: Found) -> Verdict:
    """At the end the mean norm of W_K W_Q^T is smaller with sigmaReparam, at each rate and from each seed."""
    held = measured(found)
    if None in held.values():
        return OPEN
    plain, ours = (
        [np.mean(held[arm, rate, seed]["points"][-1]["product"]) for seed in RUN.SEEDS for rate in RUN.RATES]
        for arm in RUN.ARMS
    )
    told = ", ".join(f"{one:.2f} beside {other:.2f}" for one, other in zip(ours, plain, strict=True))
    return Verdict(all(one < other for one, other in zip(ours, plain, strict=True)), told)


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. unmasked rows: above the theorem's bound": functools.partial(never_crossed, "unmasked", "theorem"),
    "2. causal rows, T their number of keys: above it": functools.partial(never_crossed, "causal", "theorem"),
    "3. unmasked rows: above the bound of their own norm": functools.partial(never_crossed, "unmasked", "own"),
    "4. causal rows: above the bound of their own norm": functools.partial(never_crossed, "causal", "own"),
    "5. attention's own entropies are those of float64": agrees,
    "6. smaller norms of W_K W_Q^T with sigmaReparam": smaller_products,
}


def text(found: Found) -> str:
    """Verdict, each layer at the last step, and machine, as Markdown."""
    held = measured(found)
    missing = sum(each is None for each in held.values())
    lines = reports.judged({name: rule(found) for name, rule in RULES.items()}, missing)
    columns = (
        "arm", "rate", "seed", "layer", "norm of W_K W_Q^T", "s / sqrt d", "theorem's bound",
        "least bound of a row's own norm", "least entropy", "training loss",
    )  # fmt: skip
    lines += [
        "",
        "### Unmasked rows at the last step, in nats: the least of all heads",
        "",
        *row(*columns, head="head"),
    ]
    for (arm, rate, seed), each in held.items():
        for layer in range(len(each["points"][-1]["product"]) if each else 0):
            last = {name: value[layer] for name, value in each["points"][-1].items() if name != "step"}
            tops = [f"{max(last[name]):.3g}" for name in ("product", "norm")]
            lows = [f"{min(last[name]):.3g}" for name in ("unmasked theorem", "unmasked own", "unmasked entropy")]
            lines += row(arm, f"{rate:g}", str(seed), str(layer), *tops, *lows, "" if layer else f"{each['loss']:.3f}")
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(held.values())])


def picture(found: Found) -> Figure:
    """Over training, by layer: least entropies beside both bounds, and the norm that decides the theorem's."""
    held = {cell: each for cell, each in measured(found).items() if each}
    figure = Figure(figsize=(15, 9), layout="constrained")
    if not held:
        return figure
    depth = len(next(iter(held.values()))["points"][0]["product"])
    colors = dict(zip(RUN.ARMS, ("tab:gray", "tab:purple"), strict=True))
    panels = figure.subplots(3, depth, squeeze=False, sharex=True, sharey="row")
    for (arm, rate, _), each in held.items():
        steps = [point["step"] for point in each["points"]]
        style = "-" if rate == RUN.RATES[0] else "--"
        for layer in range(depth):
            for line, name in enumerate(("unmasked entropy", "unmasked own")):
                heads = np.array([point[name][layer] for point in each["points"]])
                panels[line, layer].plot(steps, heads, style, color=colors[arm], linewidth=0.8, alpha=0.8)
            norms = np.array([point["norm"][layer] for point in each["points"]])
            panels[2, layer].semilogy(steps, norms, style, color=colors[arm], linewidth=0.8, alpha=0.8)
    for layer in range(depth):
        panels[0, layer].set_title(f"layer {layer}", fontsize="medium")
        panels[2, layer].set_xlabel("step")
    for line, label in enumerate(
        ("least entropy (nats)", "least bound by a row's own norm", "s / sqrt d of the theorem")
    ):
        panels[line, 0].set_ylabel(label)
    for arm, color in colors.items():
        panels[0, 0].plot([], [], color=color, label=arm)
    for rate, style in zip(RUN.RATES, ("-", "--"), strict=True):
        panels[0, 0].plot([], [], style, color="black", label=f"rate {rate:g}")
    panels[0, 0].legend(fontsize="small")
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    for axes in panels[2]:
        axes.axhline(745, color="tab:red", linestyle=":", linewidth=1, label="from here on the bound is 0 in float64")
    panels[2, 0].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
