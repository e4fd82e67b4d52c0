"""Measures time and memory of a block against its length, by four attentions and by none.

python experiments/favor_scaling/measure.py [PART ...] [--smoke]: all parts or those named, each into its JSON.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from jattn.benchmarks import turns
from jattn.benchmarks.passes import passes, turn
from jattn.features import Favor, Generalized
from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.part import Attended, Rng, Stats, part
from jattn.parts.masks.causal import Causal
from jattn.training.sweeps import measures

HERE = Path(__file__).parent


@part
class Identity(Mechanism):
    """Gives each row its own value: what is left of a model's time is not attention's."""

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Any) -> Attended:
        visible = jnp.ones(split.query.shape[:2], jnp.int32)
        return Attended(split.value, Stats(None, None, None, visible, {}), None)


# the paper's block: width 512, 8 heads, feed-forward layers of 2048; whose number does not change a ratio much
BLOCK = DecoderConfig(width=512, depth=1, heads=8)
ARMS: dict[str, Mechanism] = {
    "identity": Identity(),
    "positive": LinearAttention(Favor()),
    "ReLU": LinearAttention(Generalized()),
    "exact": Attention(mask=Causal()),
    "whole matrix": Attention(mask=Causal(), implementation="dense"),
}
# one call of the last holds gigabytes
TIMED = tuple(ARMS)[:4]


class Setting(NamedTuple):
    """`timed` are (length, rounds), `compiled` the lengths whose programs are asked for their memory."""

    block: DecoderConfig
    timed: tuple[tuple[int, int], ...]
    compiled: tuple[int, ...]


FULL = Setting(
    BLOCK,
    timed=((2**9, 5), (2**10, 3), (2**11, 3), (2**12, 3), (2**13, 2)),
    compiled=tuple(2**n for n in range(9, 18)),
)
SMALL = Setting(dataclasses.replace(BLOCK, width=16, heads=2), timed=((16, 1), (32, 1)), compiled=(16, 32))


def model(block: DecoderConfig, arm: str) -> DecoderConfig:
    """A block with that attention."""
    return dataclasses.replace(block, attention=ARMS[arm])


def memory(setting: Setting) -> list[dict]:
    """Temporary bytes of the compiled programs."""
    found = []
    for length in setting.compiled:
        for arm in ARMS:
            call, given = passes(model(setting.block, arm), length)
            found.append({"arm": arm, "length": length, "bytes": turns.compiled(call, *given)[1]})
    return found


def times(setting: Setting) -> list[dict]:
    """Milliseconds of each round, all arms in turns, so that what slows the machine slows them all."""
    found = []
    for length, rounds in setting.timed:
        made = {arm: turn(model(setting.block, arm), length) for arm in TIMED}
        for arm, taken in turns.interleaved(made, rounds, 1).items():
            found.append({"arm": arm, "length": length, "ms": [float(f"{each:.4g}") for each in taken]})
    return found


PARTS: dict[str, Callable[[Setting], list[dict]]] = {"memory": memory, "times": times}

if __name__ == "__main__":
    sys.exit(measures.main(sys.argv[1:], HERE, PARTS, FULL, SMALL))
