"""Measures time, memory and compression against named peers.

A file of this folder that defines `measure(setting)` is a benchmark; it holds two settings, `FULL` and `SMOKE`. What
defines `pictures(rows)` too can be drawn.
"""

import ast
import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jattn import catalogue

HOME = Path(__file__).parent
# how the note of a contender begins that gave a wrong result, and was not timed
REFUSED = "refused: "


class Spread(NamedTuple):
    """A median over rounds, and the least and the greatest of them."""

    median: float
    low: float
    high: float


class Row(NamedTuple):
    """What one contender took of one case: milliseconds a call, as a ratio to the peer's too, and memory in bytes.

    `temporary_bytes` is what the compiled program allocates beside its arguments and results, None where it cannot be
    asked. A contender that does not work here has no times, and `note` says why. `origin` is where the shape is from,
    `length` the tokens where a case is measured at several.
    """

    case: str
    contender: str
    milliseconds: Spread | None
    ratio: Spread | None
    peer: str
    temporary_bytes: int | None = None
    note: str = ""
    origin: str = ""
    length: int | None = None


@functools.cache
def names() -> tuple[str, ...]:
    """Every benchmark, by the name of its file; read without importing them."""
    return tuple(file.stem for file in sorted(HOME.glob("*.py")) if _measures(file))


def load(name: str) -> ModuleType:
    """The benchmark of that name; refuses an unknown one with the names nearest to it."""
    for each in names():
        if catalogue.plain(each) == catalogue.plain(name):
            return importlib.import_module(f"{__name__}.{each}")
    near = catalogue.nearest(name, names()) or "there are " + ", ".join(names())
    raise ValueError(f"There is no benchmark {name!r}; {near}.")


def _measures(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in tree.body)
