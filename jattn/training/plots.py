"""Draws a run: its losses, the entropy of every head over training, and how many heads lie in each band of it."""

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jattn.mechanisms.entropy_bands import BANDS, causal_ceiling, entropy_bands
from jattn.training.run import Run

LOSS_FILE = "loss.png"
ENTROPY_FILE = "entropy.png"
HEADS_FILE = "heads.png"
# the smoothed line is a mean over this share of the steps
SMOOTHED = 0.02
COLUMNS = 4
# beyond so many heads a legend hides the lines
LEGEND_HEADS = 8
MAP_COLUMNS = 300
# of more layers some are shown, evenly spread; every panel takes a quarter of a second
PANELS = 24
# the most inches of a map of all heads, and the most layers that lines part
HIGHEST, PARTED = 24, 48


def smoothed(values: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " n"]:
    """The mean of the last `width` values at each place, of fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def loss_figure(rows: list[dict[str, Any]], unit: str) -> Figure:
    """Training and held-out loss against the step; `unit` is what a loss is of, as "byte"."""
    steps = np.array([row["step"] for row in rows])
    losses = np.array([row["loss"] for row in rows])
    width = max(1, round(SMOOTHED * len(rows)))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.7, label="training, each step")
    axes.plot(steps, smoothed(losses, width), color="tab:blue", label=f"training, mean of {width} steps")
    held = [(row["step"], row["heldout_loss"]) for row in rows if "heldout_loss" in row]
    if held:
        axes.plot(*zip(*held, strict=True), "o-", color="tab:red", markersize=4, label="held out, more at the end")
    axes.set(xlabel="step", ylabel=f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def entropy_figure(rows: list[dict[str, Any]], context: int) -> Figure | None:
    """A panel a layer, of many layers `PANELS` evenly spread, and a line a head; None where no head has weights."""
    shown = [row for row in rows if row.get("entropy")]
    if not shown:
        return None
    steps = [row["step"] for row in shown]
    entropy = np.array([row["entropy"] for row in shown])
    _, layers, heads = entropy.shape
    drawn = np.unique(np.linspace(0, layers - 1, min(PANELS, layers)).round().astype(int))
    columns = min(COLUMNS, len(drawn))
    lines = -(-len(drawn) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.6, 2.8 * lines + 0.4), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat
    width = max(1, round(SMOOTHED * len(shown)))
    for layer, axes in zip(drawn, panels, strict=False):
        for head in range(heads):
            axes.plot(steps, smoothed(entropy[:, layer, head], width), linewidth=1, label=f"head {head}")
        axes.axhline(math.log(context), color="gray", linestyle="--", linewidth=1, label=f"log({context})")
        axes.set_title(f"layer {layer}", fontsize="medium")
        axes.grid(alpha=0.3)
    if heads <= LEGEND_HEADS:
        figure.axes[0].legend(fontsize="small")
    for axes in figure.axes[len(drawn) :]:
        axes.set_visible(False)
    figure.axes[0].set_ylim(bottom=0)
    figure.supxlabel("step")
    figure.supylabel("entropy (nats)")
    return figure


def heads_figure(rows: list[dict[str, Any]], context: int) -> Figure | None:
    """Every head's entropy over training as a map, and the heads of each band after it; None where none has weights."""
    shown = [row for row in rows if row.get("entropy")]
    if not shown:
        return None
    entropy = np.array([row["entropy"] for row in shown])
    count, layers, heads = entropy.shape
    # means over equal shares of the steps: a picture has no more columns than that
    columns = np.array_split(np.arange(count), min(count, MAP_COLUMNS))
    means = np.stack([entropy[some].mean(0).reshape(-1) for some in columns], 1)
    figure = Figure(figsize=(9, min(HIGHEST, 1.8 + 0.16 * max(12, layers * heads))), layout="constrained")
    over_training, after = figure.subplots(1, 2, width_ratios=(3, 1))
    ends = shown[0]["step"] - 0.5, shown[-1]["step"] + 0.5
    # rows that see later tokens too have entropies above it
    most = max(causal_ceiling(context), means.max())
    drawn = over_training.imshow(
        means, aspect="auto", interpolation="nearest", vmin=0, vmax=most,
        extent=(*ends, layers * heads, 0),
    )  # fmt: skip
    named = np.arange(0, layers, -(-layers // PARTED))
    over_training.set(xlabel="step", ylabel="layer", yticks=heads * (named + 0.5), yticklabels=named)
    for line in heads * np.arange(1, layers) if layers <= PARTED else ():
        over_training.axhline(line, color="white", linewidth=1)
    figure.colorbar(drawn, ax=over_training, label="entropy (nats)", pad=0.01)
    # what is no number is in none
    bands = np.bincount(np.asarray(entropy_bands(jnp.asarray(means[:, -1]))), minlength=len(BANDS))[: len(BANDS)]
    bars = after.bar(BANDS, bands / max(1, bands.sum()))
    after.bar_label(bars, [str(n) for n in bands])
    after.set(ylabel="share of heads at the end", ylim=(0, 1.05), xlabel="quarter of the largest")
    after.tick_params(axis="x", rotation=30)
    return figure


def draw(rows: list[dict[str, Any]], directory: Path, run: Run) -> list[Path]:
    """Writes loss.png, entropy.png and heads.png from the rows of metrics.jsonl; gives the paths written."""
    figures = {
        LOSS_FILE: loss_figure(rows, run.source.unit),
        ENTROPY_FILE: entropy_figure(rows, run.tokens),
        HEADS_FILE: heads_figure(rows, run.tokens),
    }
    written = []
    for name, figure in figures.items():
        if figure is not None:
            try:
                figure.savefig(directory / name, dpi=120)
            except OSError as error:
                why = f"{str(directory / name)!r}: {error.strerror}"
                raise OSError(f"A picture must be a file that can be written, got {why}; see to it.") from None
            written.append(directory / name)
    return written
