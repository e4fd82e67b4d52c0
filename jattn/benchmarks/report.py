"""What was measured as a table to read and as data to keep, and on what machine and with which versions."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import jax

from jattn.benchmarks import Row, Spread

LIBRARIES = ("jattn", "jax", "jaxlib", "torch", "tokamax")
PROCESSORS = Path("/proc/cpuinfo")


HEAD = ("case", "tokens", "shape from", "contender", "ms", "ratio", "to", "temporary MiB", "note")


def table(rows: Iterable[Row]) -> str:
    """Aligned lines, one a contender: times with the range of the rounds, their ratio to the peer, memory, a note."""
    cells = _filled(rows)
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ("  ".join(f"{cell:<{n}}" for cell, n in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def markdown(command: str, rows: Iterable[Row], pictures: Iterable[str]) -> str:
    """The same as a section of a page: the command, machine and versions, a table, and pictures by their paths."""
    head, *lines = _filled(rows)
    where = ", ".join(f"{name} {value}" for name, value in {**machine(), **versions()}.items())
    told = [f"`{command}`; {where}.", "", _line(head), "|" + "---|" * len(head), *map(_line, lines)]
    for path in pictures:
        told += ["", f"![{Path(path).stem.replace('_', ' ')}]({path})"]
    return "\n".join(told)


def renewed(page: str, name: str, section: str) -> str:
    """A page with the section between the marks of that name, which are put at its end where it has none yet."""
    first, last = f"<!-- jattn bench {name} -->", f"<!-- end of jattn bench {name} -->"
    before, found, rest = page.partition(first)
    if not found:
        before, rest = f"{page.rstrip()}\n\n## {name}\n\n".lstrip(), f"{last}\n"
    _, found, behind = rest.partition(last)
    if not found:
        raise ValueError(f"A page that holds {first} must hold {last} below it, got none; write it there.")
    return f"{before}{first}\n\n{section}\n\n{last}{behind}"


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


def _filled(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The head and a line a row, without columns that no row fills."""
    lines = [_cells(row) for row in rows]
    kept = [column for column in range(len(HEAD)) if any(line[column] for line in lines)]
    return [tuple(line[column] for column in kept) for line in [HEAD, *lines]]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row) -> tuple[str, ...]:
    # against itself a contender is 1, always
    ratio = "1" if row.contender == row.peer and row.milliseconds else _shown(row.ratio, 2)
    memory = "" if row.temporary_bytes is None else f"{row.temporary_bytes / 2**20:.1f}"
    tokens = "" if row.length is None else str(row.length)
    times = _shown(row.milliseconds, 1)
    return row.case, tokens, row.origin, row.contender, times, ratio, row.peer, memory, row.note


def _shown(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    # three digits, or two where the figure is small
    digits = max(digits, 3 if spread.median < 0.1 else 2) if spread.median < 10 else digits
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def _plain(row: Row) -> dict:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in row._asdict().items()}
