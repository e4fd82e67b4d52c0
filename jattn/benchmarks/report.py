"""What was measured as a table to read and as data to keep, and on what machine and with which versions."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import jax

from jattn.benchmarks import Row, Spread

LIBRARIES = ("jattn", "jax", "jaxlib", "torch")
PROCESSORS = Path("/proc/cpuinfo")


def table(rows: Iterable[Row]) -> str:
    """Aligned lines, one a contender: times with the range of the rounds, their ratio to the peer, memory, a note."""
    head = ("case", "contender", "ms", "ratio", "to", "temporary MiB", "")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = ("  ".join(f"{cell:<{n}}" for cell, n in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def record(found: dict[str, list[Row]]) -> dict:
    """The rows of each benchmark as plain data, with machine and versions."""
    rows = {name: [_plain(row) for row in rows] for name, rows in found.items()}
    return {"machine": machine(), "versions": versions(), "benchmarks": rows}


def machine() -> dict[str, str | int]:
    """Cores that this process may use, the processor's name, the operating system, and the device JAX computes on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "processor": processor(),
        "platform": platform.platform(),
        "device": jax.devices()[0].device_kind,
    }


def processor(told: Path = PROCESSORS) -> str:
    """The processor's name, or its kind alone where the operating system tells no more."""
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """Of Python and of those libraries that are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cells(row: Row) -> tuple[str, ...]:
    # against itself a contender is 1, always
    ratio = "1" if row.contender == row.peer else _shown(row.ratio, 2)
    memory = "" if row.temporary_bytes is None else f"{row.temporary_bytes / 2**20:.1f}"
    return row.case, row.contender, _shown(row.milliseconds, 1), ratio, row.peer, memory, row.note


def _shown(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    # three digits at least, where the figure is small
    digits = max(digits, 2) if spread.median < 10 else digits
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def _plain(row: Row) -> dict:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in row._asdict().items()}
