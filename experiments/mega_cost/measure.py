"""Measures time and memory of a block against its length: of a Transformer, and of Mega, whole and in chunks.

python experiments/mega_cost/measure.py [PART ...] [--smoke]: all parts or those named, each into its JSON.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from jattn.benchmarks import compilers, turns
from jattn.benchmarks.passes import passes, turn
from jattn.layers.heads.mega import Mega
from jattn.mechanisms.attention import Attention
from jattn.models.decoder import DecoderConfig
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.training.sweeps import measures

HERE = Path(__file__).parent

# the paper's sizes on bytes of text, in its Transformer too: width 128, 4 heads, chunks of 128; one block of the four
CHUNK = 128


def blocks(width: int, shared: int, heads: int, chunk: int) -> dict[str, DecoderConfig]:
    """One block of each kind."""
    plain = DecoderConfig(
        width=width, depth=1, heads=heads, attention=Attention(mask=Causal(), position=Rotary()), norm="layer"
    )
    mega = DecoderConfig(
        width=width, depth=1, heads=1, projection=Mega(shared), attention=Attention(RotaryBias(), Causal()),
        norm="layer", feedforward="biased", activation="silu", expansion=2,
    )  # fmt: skip

    def attending(model: DecoderConfig, **options) -> DecoderConfig:
        return dataclasses.replace(model, attention=dataclasses.replace(model.attention, **options))

    return {
        "Transformer, whole matrix": attending(plain, implementation="dense"),
        "Transformer": plain,
        "Mega, whole matrix": attending(mega, implementation="dense"),
        "Mega": mega,
        "Mega-chunk": attending(mega, mask=Causal() & BlockDiagonal(chunk)),
    }


class Setting(NamedTuple):
    """`timed` are (length, rounds, arms), `compiled` and `chip` the lengths whose programs tell their memory."""

    arms: dict[str, DecoderConfig]
    timed: tuple[tuple[int, int, tuple[str, ...]], ...]
    compiled: tuple[int, ...]
    chip: tuple[int, ...]


ARMS = blocks(128, 64, 4, CHUNK)
IN_TILES = tuple(name for name in ARMS if not name.endswith("matrix"))
FULL = Setting(
    ARMS,
    timed=(
        *((2**n, rounds, tuple(ARMS)) for n, rounds in ((9, 5), (10, 5), (11, 3), (12, 3))),
        (2**13, 3, IN_TILES),
        *((2**n, 3, ("Mega-chunk",)) for n in (14, 15, 16)),
    ),
    compiled=tuple(2**n for n in range(9, 17)),
    chip=tuple(2**n for n in (12, 14, 16)),
)
SMALL = Setting(blocks(8, 4, 2, 8), timed=((16, 1, ("Mega-chunk",)),), compiled=(16,), chip=())


def memory(setting: Setting) -> list[dict]:
    """Temporary bytes of the programs compiled for this machine."""
    found = []
    for length in setting.compiled:
        for arm, model in setting.arms.items():
            call, given = passes(model, length)
            found.append({"arm": arm, "length": length, "bytes": turns.compiled(call, *given)[1]})
    return found


def chip(setting: Setting) -> list[dict]:
    """Temporary bytes of the programs compiled for one TPU v5e, in bfloat16; None where it refuses the program."""
    found = []
    for length in setting.chip:
        for arm, model in setting.arms.items():
            call, given = passes(model, length, "bfloat16")
            try:
                made = compilers.compiled(call, *given, chip="v5e")
                size = int(made.memory_analysis().temp_size_in_bytes)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                size = None
            found.append({"arm": arm, "length": length, "bytes": size})
    return found


def times(setting: Setting) -> list[dict]:
    """Milliseconds of each round, all arms in turns, so that what slows the machine slows them all."""
    found = []
    for length, rounds, arms in setting.timed:
        made = {arm: turn(setting.arms[arm], length) for arm in arms}
        for arm, taken in turns.interleaved(made, rounds, 1).items():
            found.append({"arm": arm, "length": length, "ms": [float(f"{each:.4g}") for each in taken]})
    return found


PARTS: dict[str, Callable[[Setting], list[dict]]] = {"memory": memory, "times": times, "chip": chip}

if __name__ == "__main__":
    sys.exit(measures.main(sys.argv[1:], HERE, PARTS, FULL, SMALL))
