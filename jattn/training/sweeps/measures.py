"""Keeps what an experiment measures without training as small JSON, a file a part, and reads it for a report."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jattn.training import disk
from jattn.training.sweeps import results

# what is measured at a setting, as rows
Parts = Mapping[str, Callable[[Any], list[dict[str, Any]]]]


class Measured(NamedTuple):
    """The rows of each part that was measured, by its name, and machine and versions of each."""

    rows: dict[str, list[dict[str, Any]]]
    held: list[dict[str, Any]]

    def chosen(self, part: str, **match: Any) -> list[dict[str, Any]]:
        """The rows of a part that have these values; none where it was not measured."""
        return [row for row in self.rows.get(part, []) if all(row.get(name) == held for name, held in match.items())]


def load(folder: Path, home: Path, smoke: Path | None = None) -> Measured:
    """Whatever of it is in `home`, for `reports.main`, which says whose folder that is."""
    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(home.glob("*.json"))}
    return Measured({name: each["rows"] for name, each in held.items()}, list(held.values()))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A line a row, with machine and versions."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = f'"machine": {json.dumps(results.machine())},\n"versions": {json.dumps(results.versions())}'
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.write(path, f'{{\n{head},\n"rows": [\n{lines}\n]\n}}\n')


def main(words: list[str], folder: Path, parts: Parts, full: Any, small: Any) -> int:
    """Measures all parts or those named at the full setting, or with --smoke at the small one; says where they are."""
    parser = argparse.ArgumentParser(description=f"Measures what {folder.name} reports, each part into its JSON.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, kept apart from the true results")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.parts) - set(parts):
        parser.error(f"A part is one of {', '.join(parts)}, got {', '.join(sorted(unknown))}.")
    home = (Path("runs") / folder.name / "smoke" if chosen.smoke else folder) / "results"
    for name in chosen.parts or parts:
        write(file := home / f"{name}.json", parts[name](small if chosen.smoke else full))
        print(file, flush=True)
    return 0
