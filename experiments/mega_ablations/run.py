"""Mega's decoder with wider and narrower averages or none, with shorter chunks, and with other weights."""

import dataclasses
from pathlib import Path

from jattn.layers.heads.mega import Mega
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.laplace import Laplace
from jattn.parts.scores.per_visible import PerVisible
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.training.sweeps import listed

LANGUAGE = listed.executed(Path(__file__).parents[1] / "mega_language" / "run.py")
RATE, SEEDS = 1e-2, LANGUAGE.SEEDS
EXPANSIONS, CHUNKS = (0, 1, 2, 4, 16), (16, 32, 128, None)
SOFTMAX = Attention(RotaryBias(), Causal())
LAPLACE = Attention((PerVisible(), RotaryBias()), Causal(), Laplace(), scale=1.0)


def averaged(expansion: int) -> Mega:
    """Mega whose average has so many numbers a channel; with 0 it has none."""
    recurrence = Recurrence(DampedEma(expansion)) if expansion else None
    return Mega(shared=32, recurrence=recurrence)


def chunked(chunk: int | None) -> Attention:
    """Attention within chunks of so many tokens."""
    return SOFTMAX if chunk is None else dataclasses.replace(SOFTMAX, mask=SOFTMAX.mask & BlockDiagonal(chunk))


ARMS = {f"expansion {n}": LANGUAGE.mega(SOFTMAX, averaged(n)) for n in EXPANSIONS}
ARMS |= {f"chunk {n or 'full'}": LANGUAGE.mega(chunked(n)) for n in CHUNKS}
ARMS |= {"softmax": LANGUAGE.mega(SOFTMAX), "Laplace": LANGUAGE.mega(LAPLACE)}
# of what is in several arms one run
CELLS = {(arm, seed): LANGUAGE.run(model, RATE, seed) for seed in SEEDS for arm, model in ARMS.items()}
RUNS = list(dict.fromkeys(CELLS.values()))
