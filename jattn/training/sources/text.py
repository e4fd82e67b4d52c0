"""The user's own files as one text, a twentieth of it held out."""

from pathlib import Path

from jattn.part import part
from jattn.training.sources import Source
from jattn.training.windows import Sliding, Windows

# every 20th part is held out, 5 %
SHARE = 20
BLOCK_BYTES = 64 << 10


def read(files: tuple[str, ...]) -> bytes:
    """The files' bytes in order, joined by a line end; files that hold no text are refused."""
    if not files:
        raise ValueError("Text.files must name at least one file, got none; give one, as in --text FILE.")
    return b"\n".join(_bytes(Path(name)) for name in files)


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"Text.files must name files that exist, got {str(path)!r}; check the path.")
    if not path.is_file():
        raise ValueError(f"Text.files must name files, got the directory {str(path)!r}; name the files in it.")
    if not (text := path.read_bytes()):
        raise ValueError(f"Text.files must name files that hold text, got the empty {str(path)!r}; leave it out.")
    return text


def split(text: bytes) -> tuple[bytes, bytes]:
    """What is trained on and what is held out: the last 5 %, or every 20th block of 64 KiB where there are so many.

    Blocks from all over a long text stand for it better than its end does.
    """
    if len(text) < SHARE * BLOCK_BYTES:
        cut = len(text) - len(text) // SHARE
        return text[:cut], text[cut:]
    blocks = [text[start : start + BLOCK_BYTES] for start in range(0, len(text), BLOCK_BYTES)]
    held = b"".join(blocks[SHARE - 1 :: SHARE])
    return b"".join(block for number, block in enumerate(blocks) if number % SHARE != SHARE - 1), held


@part
class Text(Source):
    """Bytes are tokens, so any file serves; each part must be longer than one context."""

    files: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.files, tuple) or not all(isinstance(name, str) for name in self.files):
            raise TypeError(f"Text.files must be a tuple of paths, got {self.files!r}; write Text(files=('a.txt',)).")

    def train(self, context: int, seed: int) -> Windows:
        return Windows(self._part(0, context), context, seed)

    def held_out(self, context: int) -> Sliding:
        return Sliding(self._part(1, context), context)

    def _part(self, number: int, context: int) -> bytes:
        chosen = split(read(self.files))[number]
        if len(chosen) <= context:
            name = ("training", "held-out")[number]
            raise ValueError(
                f"Text needs more bytes than one context in its {name} part, got {len(chosen)} for a context of "
                f"{context}; give more text or a smaller context."
            )
        return chosen
