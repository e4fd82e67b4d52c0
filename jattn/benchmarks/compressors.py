"""Prints what xz and PPMd need for the held-out plays once they have read the training text, in nats per byte.

Source: C. E. Shannon, Prediction and Entropy of Printed English, Bell System Technical Journal, 1951, for the question;
D. Shkarin, PPM: one step to practicality, Data Compression Conference, 2002, for PPMd, the strongest answer here that
counts instead of training.

A compressor's answer is *adaptive*: it learns the plays while it reads them, as fixed weights cannot. *Reset* takes
that away: the compressor is put back to the training text before each of some short chunks.
"""

import lzma
import math
import statistics
from collections.abc import Callable

from jattn.training.data import shakespeare

Compressor = Callable[[bytes], bytes]

XZ_DICTIONARY = 128 << 20
# the best of orders 4 to 16 on this text
PPMD_ORDER = 7
# at 256 MiB PPMd never runs full on this text, which would make it forget
PPMD_MEMORY = 256 << 20
CHUNKS = 12
CHUNK_BYTES = 4000


def nats_per_byte(compressed: int, size: int) -> float:
    """The cost of a text of `size` bytes that took `compressed` bytes, in nats per byte."""
    return compressed * 8 * math.log(2) / size


def given(compress: Compressor, context: bytes, text: bytes) -> float:
    """The cost of the text to a compressor that has read the context and goes on learning, in nats per byte."""
    return nats_per_byte(len(compress(context + text)) - len(compress(context)), len(text))


def spread(text: bytes, count: int = CHUNKS, size: int = CHUNK_BYTES) -> list[bytes]:
    """Chunks of `size` bytes at even distances, the first at the text's start and the last at its end."""
    if count < 2 or len(text) < size:
        raise ValueError(
            f"spread needs 2 chunks or more and a text no shorter than one, got {count} of {size} bytes "
            f"from {len(text)} bytes; ask for fewer bytes a chunk."
        )
    starts = [i * (len(text) - size) // (count - 1) for i in range(count)]
    return [text[start : start + size] for start in starts]


def reset(compress: Compressor, context: bytes, chunks: list[bytes]) -> list[float]:
    """The cost of each chunk to a compressor that has read the context alone, in nats per byte."""
    base = len(compress(context))
    return [nats_per_byte(len(compress(context + chunk)) - base, len(chunk)) for chunk in chunks]


def xz(data: bytes) -> bytes:
    """Compresses as `xz -9e` does, with a dictionary that holds the whole text."""
    best = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": XZ_DICTIONARY}
    return lzma.compress(data, filters=[best])


def ppmd(data: bytes) -> bytes:
    """Compresses as PPMd, variant H."""
    try:
        import pyppmd
    except ImportError as error:
        raise ModuleNotFoundError(
            "PPMd needs the package pyppmd, which is not installed; get it with `pip install jattn[bench]`."
        ) from error
    return pyppmd.compress(data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY, variant="H")


def main() -> None:
    """Prints a table, each line as soon as it is known."""
    train, held = shakespeare.train_text(), shakespeare.held_out_text()
    try:
        ppmd(b"")
    except ModuleNotFoundError as error:
        raise SystemExit(str(error)) from error
    print(f"nats per byte of {len(held):,} held-out bytes, {len(train):,} bytes read before", flush=True)
    print(f"xz -9e, adaptive         {given(xz, train, held):.3f}", flush=True)
    print(f"PPMd-H order {PPMD_ORDER}, adaptive {given(ppmd, train, held):.3f}", flush=True)
    costs = reset(ppmd, train, spread(held))
    mean, error = statistics.mean(costs), statistics.stdev(costs) / math.sqrt(len(costs))
    print(f"PPMd-H order {PPMD_ORDER}, reset    {mean:.3f} +- {error:.3f} ({CHUNKS} chunks of {CHUNK_BYTES} bytes)")


if __name__ == "__main__":
    main()
