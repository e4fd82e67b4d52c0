"""Measures time and memory of a block against its length, by four attentions and by none.

python experiments/favor_scaling/measure.py [PART ...] [--smoke]: all parts or those named, each into its JSON.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jattn.benchmarks import turns
from jattn.features import Favor, Generalized
from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.part import Attended, Rng, Stats, part
from jattn.parts.masks.causal import Causal
from jattn.training import state
from jattn.training.run import Run
from jattn.training.step import gradients
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


def passes(block: DecoderConfig, arm: str, length: int) -> tuple[Callable, tuple]:
    """Loss and gradients of one text of that length, and the shapes of what they are of."""
    run = Run(model=dataclasses.replace(block, attention=ARMS[arm]), batch=1, context=length)
    whole = gradients(run)
    held = state.outline(run)

    def both(variables, tokens):
        found = whole(variables, {"tokens": tokens}, jax.random.key(0))
        return found.loss, found.gradients

    given = state.Variables(held.params, held.buffers), jax.ShapeDtypeStruct((1, length + 1), jnp.int32)
    return both, given


def memory(setting: Setting) -> list[dict]:
    """Temporary bytes of the compiled programs."""
    found = []
    for length in setting.compiled:
        for arm in ARMS:
            call, given = passes(setting.block, arm, length)
            found.append({"arm": arm, "length": length, "bytes": turns.compiled(call, *given)[1]})
    return found


def times(setting: Setting) -> list[dict]:
    """Milliseconds of each round, all arms in turns, so that what slows the machine slows them all."""
    found = []
    for length, rounds in setting.timed:
        made = {arm: _turn(setting.block, arm, length) for arm in TIMED}
        for arm, taken in turns.interleaved(made, rounds, 1).items():
            found.append({"arm": arm, "length": length, "ms": [float(f"{each:.4g}") for each in taken]})
    return found


def _turn(block: DecoderConfig, arm: str, length: int) -> turns.Turn:
    call, given = passes(block, arm, length)
    made, _ = turns.compiled(call, *given)
    run = Run(model=dataclasses.replace(block, attention=ARMS[arm]), batch=1, context=length)
    begun = state.fresh(run)
    tokens = jax.random.randint(jax.random.key(1), (1, length + 1), 0, block.vocabulary)
    return lambda: jax.block_until_ready(made(state.Variables(begun.params, begun.buffers), tokens))


PARTS: dict[str, Callable[[Setting], list[dict]]] = {"memory": memory, "times": times}

if __name__ == "__main__":
    sys.exit(measures.main(sys.argv[1:], HERE, PARTS, FULL, SMALL))
