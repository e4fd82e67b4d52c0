"""The user's own files as one text, a twentieth of it held out."""

import functools
import mmap
import stat
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jattn.part import part
from jattn.training.pieces import Pieces
from jattn.training.sources import Source
from jattn.training.windows import Sliding, Windows

# every 20th part is held out, 5 %
SHARE = 20
BLOCK_BYTES = 64 << 10
# files mapped at a time: each holds a descriptor, of which a process may have 1024 or fewer
MAPS = 128


def joined(files: tuple[str, ...]) -> Pieces:
    """The files' bytes in order, joined by a line end and read where they lie; files without text are refused."""
    if not files:
        raise ValueError("Text.files must name at least one file, got none; give one, as in --text FILE.")
    # a file and the line end behind it are two pieces; behind the last file there is none
    lengths = [length for name in files for length in (size(Path(name)), 1)][:-1]
    # a run may go on after the process has changed its directory
    paths = [Path(name).absolute() for name in files]
    file = functools.lru_cache(MAPS)(mapped)
    end = np.frombuffer(b"\n", np.uint8)
    # copied, so that no slice keeps a map alive that was given up
    return Pieces(lengths, lambda n, start, stop: (end if n % 2 else file(paths[n // 2]))[start:stop].copy())


def size(path: Path) -> int:
    """The bytes of a file that holds text; anything else is refused."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"Text.files must name files that exist, got {str(path)!r}; check the path.") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind, cure = ("directory", "name the files in it") if path.is_dir() else ("device", "write it to a file first")
        raise ValueError(f"Text.files must name files, got the {kind} {str(path)!r}; {cure}.")
    if not found.st_size:
        raise ValueError(f"Text.files must name files that hold text, got the empty {str(path)!r}; leave it out.")
    # opened once here, so that a file that cannot be read is refused before any work
    mapped(path)
    return found.st_size


def mapped(path: Path) -> UInt8[np.ndarray, " n"]:
    """A file as an array that is read where it lies, page by page, when it is looked at."""
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise _unreadable(path, error) from error
    # windows come in a random order: what lies behind one is not read ahead, where the platform can be told so
    if hasattr(pages, "madvise") and hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, np.uint8)


def _unreadable(path: Path, error: OSError) -> OSError:
    why = f"{str(path)!r}: {error.strerror}"
    return OSError(f"Text.files must name files that can be read, got {why}; check who may read it.")


def split(text: Pieces | UInt8[np.ndarray, " n"]) -> tuple[Pieces, Pieces]:
    """What is trained on and what is held out: the last 5 %, or every 20th block of 64 KiB where there are so many.

    Blocks from all over a long text stand for it better than its end does.
    """
    total = len(text)
    if total < SHARE * BLOCK_BYTES:
        cut = total - total // SHARE
        return _ranges(text, np.array([0]), np.array([cut])), _ranges(text, np.array([cut]), np.array([total]))
    begin = np.arange(0, total, SHARE * BLOCK_BYTES)
    cut = np.minimum(begin + (SHARE - 1) * BLOCK_BYTES, total)
    return _ranges(text, begin, cut), _ranges(text, cut, np.minimum(cut + BLOCK_BYTES, total))


def _ranges(text: Pieces | np.ndarray, begin: np.ndarray, end: np.ndarray) -> Pieces:
    return Pieces(end - begin, lambda n, start, stop: text[int(begin[n]) + start : int(begin[n]) + stop])


@part
class Text(Source):
    """Bytes are tokens, so any file serves; each part must be longer than one context.

    Files are mapped, not read whole, so they may be larger than memory; they must stay as they are while a run lasts.
    """

    files: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.files, tuple) or not all(isinstance(name, str) for name in self.files):
            raise TypeError(f"Text.files must be a tuple of paths, got {self.files!r}; write Text(files=('a.txt',)).")

    def train(self, context: int, seed: int) -> Windows:
        return Windows(self._part(0, context), context, seed)

    def held_out(self, context: int) -> Sliding:
        return Sliding(self._part(1, context), context)

    def _part(self, number: int, context: int) -> Pieces:
        chosen = split(joined(self.files))[number]
        if len(chosen) <= context:
            name = ("training", "held-out")[number]
            raise ValueError(
                f"Text needs more bytes than one context in its {name} part, got {len(chosen)} for a context of "
                f"{context}; give more text or a smaller context."
            )
        return chosen
