"""`jattn plot`."""

import dataclasses

from jattn import catalogue
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draws the pictures of a run again from its metrics."""

    dir: str | None = None


def command(held: Plot, found: dict, asks: bool) -> int:
    """Draws from `metrics.jsonl`, and prints the paths written."""
    if (chosen := runs.built(held, found, asks, "plot")) is None:
        return 0
    home = runs.directory(chosen.dir)
    from jattn.training import checkpoint, metrics, plots

    run = checkpoint.read_run(home, catalogue.find)
    for path in plots.draw(metrics.read(home), home, run):
        print(path)
    return 0
