"""Keeps what a finished run of a sweep reached as small JSON: nothing of the machine's places is in it."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from jattn.training import disk, metrics
from jattn.training.plain import agrees, to_plain
from jattn.training.run import Run
from jattn.training.sweeps import names

POINTS = 50
# more would make a file of over 30 kB
ENTROPIES = 2000
# of a printed entropy: its last digits say nothing in a picture
DIGITS = 4


def record(run: Run, directory: Path, diverged: int | None = None) -> dict[str, Any]:
    """What the directory of a run that is over says, the same however often the run was cut off but for its times.

    Losses in nats per token, None where the run ended at the step `diverged`, whose loss was no number.
    `seconds` are those of all steps, over all processes, without evaluation.
    """
    rows = metrics.read(directory)
    tokens = run.batch * run.tokens
    last = [row["loss"] for row in rows[-max(1, len(rows) // 20) :]]
    reached = {
        "heldout_loss": rows[-1]["heldout_loss"] if diverged is None else None,
        "train_loss": float(f"{np.mean(last):.{metrics.DIGITS}g}") if diverged is None else None,
        "steps": len(rows),
        # a step slower than one token a second shows as 0
        "seconds": round(sum(tokens / max(row["tokens_per_second"], 1) for row in rows), 1),
    }
    if diverged is not None:
        reached["diverged"] = diverged
    elif "heldout_accuracy" in rows[-1]:
        reached["heldout_accuracy"] = rows[-1]["heldout_accuracy"]
    return {
        "digest": names.digest(run),
        "run": names.portable(to_plain(run)),
        "reached": reached,
        "versions": versions(),
        "machine": machine(),
        "points": points(rows),
    }


def points(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some of the steps: evenly spaced ones, as many of those that scored held-out text, the first and the last."""
    scored = [place for place, row in enumerate(rows) if "heldout_loss" in row]
    chosen = sorted({*_spaced(range(len(rows)), POINTS), *_spaced(scored, POINTS)})
    numbers = np.size(rows[-1].get("entropy", ())) if rows else 0
    shown = set(_spaced(chosen, max(1, ENTROPIES // max(1, numbers))))
    return [_point(rows[place], place in shown) for place in chosen]


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    try:
        own = importlib.metadata.version("jattn")
    except importlib.metadata.PackageNotFoundError:
        # run from its source
        own = "not installed"
    return {"python": platform.python_version(), "jax": jax.__version__, "jaxlib": jaxlib.__version__, "jattn": own}


def machine() -> dict[str, Any]:
    """Its kind, not its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = f"{jax.device_count()} {jax.devices()[0].device_kind}"
    return {"cores": cores, "platform": f"{platform.system()} {platform.machine()}", "devices": device}


def write(path: Path, held: dict[str, Any]) -> None:
    """Writes a result at once, a line for each of its points."""
    lines = ",\n".join(f"  {json.dumps(point)}" for point in held["points"])
    head = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in held.items() if name != "points")
    disk.write(path, f'{{\n{head},\n"points": [\n{lines}\n]\n}}\n')


def read(path: Path, run: Run) -> dict[str, Any] | None:
    """The result of this very run; None where there is none, or one that is not whole."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(held, dict) and held.get("digest") == names.digest(run)
    same = same and isinstance(held.get("run"), dict) and agrees(held["run"], names.portable(to_plain(run)))
    return held if same and held.get("reached") else None


def _spaced(places: Any, most: int) -> list[int]:
    """At most so many of the places, the last among them, and where there are several the first."""
    if len(places) <= most:
        return list(places)
    return [places[round(n * (len(places) - 1) / max(1, most - 1))] for n in range(most)] if most > 1 else [places[-1]]


def _point(row: dict[str, Any], entropy: bool) -> dict[str, Any]:
    point = {name: row[name] for name in ("step", "loss", "heldout_loss", "heldout_accuracy") if name in row}
    if entropy and "entropy" in row:
        point["entropy"] = [[float(f"{head:.{DIGITS}g}") for head in layer] for layer in row["entropy"]]
    return point
