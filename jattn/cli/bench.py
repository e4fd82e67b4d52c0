"""`jattn bench`."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from jattn import extras
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures time beside named peers in the same process, and memory; --smoke runs a tiny round of each benchmark.

    --markdown FILE renews the sections of a page, --pictures DIR draws what has lengths, and the page then shows it.
    """

    FIRST: ClassVar[str] = "only"

    only: tuple[str, ...] = ()
    json: str | None = None
    markdown: str | None = None
    pictures: str | None = None


def command(held: Bench, found: dict, asks: bool) -> int:
    """Prints a table for each benchmark as soon as it is measured, and writes the same to files where they are named.

    Returns 1 where a contender gave a wrong result, which is not timed.
    """
    from jattn.cli import options

    smoke = options.bare(found, "smoke")
    if (chosen := runs.built(held, found, asks, "bench")) is None:
        return 0
    from jattn import benchmarks
    from jattn.benchmarks import report
    from jattn.training import memory

    # a name that nothing answers to is refused before the first minute is spent
    modules = {name: benchmarks.load(name) for name in chosen.only}
    for option, file in (("--json", chosen.json), ("--markdown", chosen.markdown)):
        if file:
            runs.check_writable(option, Path(file))
    for name in (chosen.only or benchmarks.names()) if chosen.markdown else ():
        # a page that cannot be renewed says so now, not after minutes
        report.renewed(Path(chosen.markdown).read_text(encoding="utf-8"), name, "")
    if chosen.pictures:
        _check_folder(Path(chosen.pictures))
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
        drawn = _draw(name, module, measured[name], Path(chosen.pictures)) if chosen.pictures else []
        if chosen.markdown:
            page = Path(chosen.markdown)
            command = f"jattn bench {name}{' --smoke' * smoke}"
            section = report.markdown(command, measured[name], [_from(page, picture) for picture in drawn])
            page.write_text(report.renewed(page.read_text(encoding="utf-8"), name, section), encoding="utf-8")
    print("; ".join(f"{name} {value}" for name, value in {**report.machine(), **report.versions()}.items()))
    wrong = [row.note for rows in measured.values() for row in rows if row.note.startswith(benchmarks.REFUSED)]
    for note in dict.fromkeys(wrong):
        print(note, file=sys.stderr)
    return 1 if wrong else 0


def _draw(name: str, module: Any, rows: list, folder: Path) -> list[Path]:
    """Writes the pictures of a benchmark that has some."""
    drawn = []
    for kind, figure in module.pictures(rows).items() if hasattr(module, "pictures") else ():
        drawn.append(folder / f"{name}_{kind}.png")
        figure.savefig(drawn[-1], dpi=100)
    return drawn


def _from(page: Path, picture: Path) -> str:
    return Path(os.path.relpath(picture, page.parent)).as_posix()


def _check_folder(folder: Path) -> None:
    # what draws may be missing
    import jattn.benchmarks.pictures  # noqa: F401

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--pictures must name a folder, or one that can be made, got {str(folder)!r}: {error.strerror}; name "
            f"another."
        ) from None
