"""Draws figures against lengths, both on logarithmic axes, where growth by a power is a straight line."""

from matplotlib.figure import Figure

# labels of powers of two
BASE = 2


def log_log(panels: dict[str, dict[str, list[tuple[float, float]]]], across: str, upwards: str) -> Figure:
    """A panel for each title, a line for each label through its points; all panels on the same axes."""
    figure = Figure(figsize=(4.2 * len(panels) + 0.6, 4), layout="constrained")
    columns = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False).flat
    for axes, (title, lines) in zip(columns, panels.items(), strict=True):
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, linewidth=1, label=label)
        axes.set(title=title, xlabel=across)
        axes.set_xscale("log", base=BASE)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.axes[0].set_ylabel(upwards)
    return figure
