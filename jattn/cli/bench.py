"""`jattn bench`."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import ClassVar

from jattn import extras
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures time beside named peers in the same process, and memory; --smoke runs a tiny round of each benchmark."""

    FIRST: ClassVar[str] = "only"

    only: tuple[str, ...] = ()
    json: str | None = None


def command(held: Bench, found: dict, asks: bool) -> int:
    """Prints a table for each benchmark as soon as it is measured, and writes the same to a file where one is named."""
    from jattn.cli import options

    smoke = options.bare(found, "smoke")
    if (chosen := runs.built(held, found, asks, "bench")) is None:
        return 0
    from jattn import benchmarks
    from jattn.benchmarks import report
    from jattn.training import memory

    # a name that nothing answers to is refused before the first minute is spent
    modules = {name: benchmarks.load(name) for name in chosen.only}
    if chosen.json:
        _check_writable(Path(chosen.json))
    # as in training: what was freed is kept, on all sides
    memory.keep_freed()
    measured = {}
    for name in chosen.only or benchmarks.names():
        try:
            module = modules.get(name) or benchmarks.load(name)
            measured[name] = module.measure(module.SMOKE if smoke else module.FULL)
        except ModuleNotFoundError as error:
            # one that nobody named may be left out
            told = extras.sentence(f"The benchmark {name}", error)
            if chosen.only or not told:
                raise
            print(told, file=sys.stderr)
            continue
        print(f"{name}\n{report.table(measured[name])}\n", flush=True)
        if chosen.json:
            Path(chosen.json).write_text(json.dumps(report.record(measured), indent=2) + "\n", encoding="utf-8")
    print("; ".join(f"{name} {value}" for name, value in {**report.machine(), **report.versions()}.items()))
    return 0


def _check_writable(file: Path) -> None:
    try:
        file.open("a").close()
    except OSError as error:
        raise OSError(
            f"--json must name a file that can be written, got {str(file)!r}: {error.strerror}; name another."
        ) from None
