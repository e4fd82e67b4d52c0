"""Names the runs of a list by what they hold: a digest that decides, before it the fields in which they differ."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jattn.training.plain import to_plain
from jattn.training.run import Run

# of a digest in a name: among a thousand runs, two alike come once in 8,000 lists
DIGITS = 8
# file names end at 255 bytes in most file systems
LONGEST = 120


class Planned(NamedTuple):
    """A run of a list, by its place there, and where it trains and leaves its result.

    `fields` are those in which the runs of the list differ, as one would type them; `name` is made of them.
    """

    index: int
    run: Run
    name: str
    fields: dict[str, str]
    directory: Path
    result: Path


def planned(runs: Sequence[Run], directory: Path, results: Path) -> list[Planned]:
    """Every run of a list with its name and places; what is no list of different runs is refused.

    Where a place for a run is there already, under whatever name, it is that run's: a longer list changes the fields
    that differ, not what is done.
    """
    check(runs)
    differ = differing([fields(run) for run in runs])
    found = []
    for index, (run, own) in enumerate(zip(runs, differ, strict=True)):
        tag, name = digest(run)[:DIGITS], readable(own)
        places = [_place(Path(directory), name, tag), _place(Path(results), name, f"{tag}.json")]
        found.append(Planned(index, run, f"{name}-{tag}", own, *places))
    return found


def check(runs: Sequence[Run]) -> None:
    """Refuses what is no list of runs, holds none, or one of them twice."""
    if not isinstance(runs, list | tuple):
        raise TypeError(f"RUNS must be a list of Run, got {_kind(runs)}; write RUNS = [Run(...), ...].")
    if not runs:
        raise ValueError("RUNS must hold at least one Run, got an empty list; write RUNS = [Run(...), ...].")
    seen: dict[str, int] = {}
    for index, run in enumerate(runs):
        if not isinstance(run, Run):
            raise TypeError(f"RUNS must hold Run alone, got {_kind(run)} as RUNS[{index}]; put a Run there.")
        if (before := seen.setdefault(digest(run), index)) != index:
            raise ValueError(
                f"RUNS must hold each run once, got RUNS[{index}] equal to RUNS[{before}]; give one another seed."
            )


def digest(run: Run) -> str:
    """What a run holds beside its defaults, as one number in hexadecimal: a field that is new changes none."""
    return hashlib.sha256(json.dumps(_chosen(run), sort_keys=True).encode()).hexdigest()


def portable(value: Any) -> Any:
    """Plain data without the places of one machine: of an absolute path the last name alone."""
    if isinstance(value, dict):
        return {name: portable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [portable(member) for member in value]
    return os.path.basename(os.path.normpath(value)) if isinstance(value, str) and os.path.isabs(value) else value


def fields(run: Run) -> dict[str, str]:
    """Every field by its dotted path, as one would type it; that of a part holds its class."""
    found: dict[str, str] = {}
    _walk(portable(to_plain(run)), "", found)
    return found


def differing(each: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Of the fields of several runs those whose values differ; a field that only some have differs by its part."""
    names = dict.fromkeys(name for found in each for name in found)
    chosen = [name for name in names if len({found[name] for found in each if name in found}) > 1]
    return [{name: found[name] for name in chosen if name in found} for found in each]


def readable(own: dict[str, str]) -> str:
    """Fields as a bounded word that any file system takes."""
    word = "-".join(f"{name}={value}" for name, value in own.items()) or "run"
    return re.sub(r"[^A-Za-z0-9._=+,-]", "_", word)[:LONGEST].lstrip(".-") or "run"


def _chosen(value: Any) -> Any:
    """Plain data of what differs from the defaults."""
    if not dataclasses.is_dataclass(value):
        return [_chosen(member) for member in value] if isinstance(value, tuple) else to_plain(value)
    held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    usual = {field.name: field.default for field in dataclasses.fields(value)}
    changed = {name: _chosen(member) for name, member in held.items() if member != usual[name]}
    return {"name": type(value).__name__, **changed}


def _walk(value: Any, path: str, found: dict[str, str]) -> None:
    if isinstance(value, dict):
        if path:
            found[path] = value["name"]
        members = {name: member for name, member in value.items() if name != "name"}
    elif isinstance(value, list) and any(isinstance(member, dict) for member in value):
        found[path] = "+".join(str(member["name"]) for member in value)
        members = {str(number): member for number, member in enumerate(value)}
    else:
        found[path] = _shown(value)
        return
    for name, member in members.items():
        _walk(member, f"{path}.{name}" if path else name, found)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_shown, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value).replace("null", "none")


def _place(folder: Path, name: str, tag: str) -> Path:
    there = sorted(folder.glob(f"*-{tag}"))
    return there[0] if there else folder / f"{name}-{tag}"


def _kind(value: Any) -> str:
    return "none" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
