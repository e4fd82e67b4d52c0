"""What there is to choose from: the folders are the registry, read without importing them."""

import ast
import dataclasses
import difflib
import functools
import importlib
import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent
# in the order of the floors; a class below them that is made with @part and has a base class is an entry
PLACES = ("parts", "mechanisms", "layers", "models", "training")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One part: its class name, its slot, the first sentence about it, its source, and where it is written."""

    name: str
    slot: str
    sentence: str
    source: str
    file: Path
    bases: tuple[str, ...]
    text: str = dataclasses.field(repr=False)

    def load(self) -> type:
        """The class itself; imports its file."""
        return getattr(importlib.import_module(module_of(self.file)), self.name)

    def holds(self, word: str) -> bool:
        """Whether the name, the slot or the docstrings, arXiv number included, hold the word in any case."""
        word = word.lower()
        names = (self.name.lower(), snake(self.name), self.slot, self.text.lower())
        return any(word in text or plain(word) == plain(text) for text in names)


def module_of(file: Path) -> str:
    """The dotted name under which Python imports a file of this package."""
    steps = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(steps[:-1] if steps[-1] == "__init__" else steps)


def plain(name: str) -> str:
    """A name without case, hyphens, underscores: `SquaredRelu`, `squared_relu`, `squared-relu` are one.

    A model goes by its own name or by that of its options: `Decoder` is `DecoderConfig`.
    """
    return re.sub(r"[-_\s]", "", name).lower().removesuffix("config")


def snake(name: str) -> str:
    """`SquaredRelu` as a command line spells it: `squared_relu`; `DecoderConfig` is `decoder`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().removesuffix("_config")


def entries(folder: Path = ROOT) -> tuple[Entry, ...]:
    """Every part below a folder of the package, by slot and name."""
    above = [folder] if folder != ROOT else [ROOT / place for place in PLACES]
    files = sorted(file for place in above for file in place.rglob("*.py"))
    found = [entry for file in files for entry in _read(file, file.stat().st_mtime_ns)]
    return tuple(sorted(found, key=lambda entry: (entry.slot, entry.name)))


def choices(base: type) -> tuple[Entry, ...]:
    """Every part that fits where `base` is asked for."""
    return tuple(entry for entry in entries() if base.__name__ in entry.bases)


def find(base: type, name: str, beside: type | None = None) -> type:
    """The part of a slot by its name, in any case, or of a slot `beside` it.

    Refuses an unknown one with the names nearest to it.
    """
    fitting = choices(base) + (choices(beside) if beside else ())
    for entry in fitting:
        if plain(entry.name) == plain(name):
            return entry.load()
    slot = fitting[0].slot if fitting else base.__name__
    if "." in name or "/" in name:
        raise ValueError(
            f"A part of {slot} is chosen by its catalogue name, got the path {name!r}; use {_listed(fitting)}."
        )
    near = nearest(name, [snake(entry.name) for entry in fitting])
    raise ValueError(f"No part of {slot} is called {name!r}; {near or 'choose ' + _listed(fitting)}.")


def nearest(name: str, names: Sequence[str]) -> str:
    """Words that name what is spelled most alike, or none."""
    by_plain = {plain(each): each for each in names}
    near = [by_plain[each] for each in difflib.get_close_matches(plain(name), by_plain, n=3, cutoff=0.5)]
    return f"the nearest is {near[0]}" if len(near) == 1 else f"the nearest are {', '.join(near)}" if near else ""


def table(word: str | None = None) -> str:
    """Aligned lines of name, slot, sentence and source, of every part or of those that hold the word."""
    rows = [(e.name, e.slot, e.sentence, e.source) for e in entries() if word is None or e.holds(word)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    padded = (("".join(f"{cell:<{n + 2}}" for cell, n in zip(row, [*widths, 0], strict=True))) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def _listed(fitting: Sequence[Entry]) -> str:
    return "one of " + ", ".join(snake(entry.name) for entry in fitting)


@functools.cache
def _read(file: Path, changed: int) -> tuple[Entry, ...]:
    # `changed` is part of the cache's key, so that an edited file is read again
    tree = ast.parse(file.read_text(encoding="utf-8"))
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    return tuple(_entry(node, tree, file) for node in classes if _is_part(node))


def _is_part(node: ast.ClassDef) -> bool:
    return bool(node.bases) and any(getattr(mark, "id", "") == "part" for mark in node.decorator_list)


def _entry(node: ast.ClassDef, tree: ast.Module, file: Path) -> Entry:
    above, own = ast.get_docstring(tree) or "", ast.get_docstring(node) or ""
    # a part with a file to itself is told by the file's docstring, one in a shared file by its own
    told = above if re.search(r"^Source:", above, re.M) else own
    slot = file.stem if file.parent == ROOT / "training" else file.parent.name
    return Entry(
        name=node.name,
        slot=slot,
        sentence=_first_sentence(told or own or above),
        source=_source(told) or _source(own),
        file=file,
        bases=tuple(getattr(base, "id", "") for base in node.bases),
        text=f"{above}\n{own}",
    )


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


def _source(text: str) -> str:
    match = re.search(r"^Source: (.*?)(?=\n\n|\n[A-Z][a-z]+: |\Z)", text, re.M | re.S)
    return " ".join(match[1].split()).rstrip(".") if match else ""
