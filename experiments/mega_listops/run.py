"""Encoders of Mega, whole and in chunks, beside three others, on what nested lists of digits are worth."""

from typing import Any

from jattn.layers.heads.grouped import Grouped
from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.encoder import EncoderConfig
from jattn.parts.features.favor import Favor
from jattn.parts.features.projections import Projection
from jattn.parts.masks import Full, Mask
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.relative_bias import RelativeBias
from jattn.parts.transitions import Transition
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.parts.transitions.s4d import S4D
from jattn.training.objectives.classification import Classification
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.listops import ListOps

STEPS, BATCH, CONTEXT, CHUNK = 2000, 32, 32, 8
RATES = (3e-3, 1e-2)
SEEDS = (0, 1)
# lists in lists; the benchmark has 10 levels, 10 arguments and more than 500 tokens
SOURCE = ListOps(depth=3, arguments=5, longer_than=10, shorter_than=CONTEXT + 1)

WIDTH, DEPTH = 64, 2


def both_ways(transition: Transition, **own: Any) -> Recurrence:
    """A recurrence that hears what comes before a token and what comes behind it."""
    # of a batch of lines as short as these the quickest form on a CPU
    return Recurrence(transition, transition, form="convolution", **own)


def encoder(**own: Any) -> EncoderConfig:
    """An encoder whose tokens' mean tells the value."""
    return EncoderConfig(
        width=WIDTH, depth=DEPTH, norm="layer", vocabulary=SOURCE.vocabulary, classes=10,
        embedding_deviation=WIDTH**-0.5, **own,
    )  # fmt: skip


def mega(length: int, mask: Mask) -> EncoderConfig:
    """An encoder of Mega's blocks, with a learned bias of each distance up to a length."""
    return encoder(
        heads=1, projection=Mega(shared=32, recurrence=both_ways(DampedEma())), feedforward="biased",
        activation="silu", expansion=2, attention=Attention(RelativeBias(length), mask, implementation="dense"),
    )  # fmt: skip


MODELS = {
    "Transformer": encoder(heads=4, attention=Attention(position=Rotary(), implementation="dense")),
    "Mega": mega(CONTEXT, Full()),
    "Mega-chunk": mega(CHUNK, BlockDiagonal(CHUNK)),
    # each token attends to itself alone, which leaves two products behind the recurrence
    "S4D": encoder(
        heads=4, projection=Smoothed(Grouped(), both_ways(S4D(states=16), residual="none")),
        attention=Attention(mask=BlockDiagonal(1), implementation="dense"),
    ),
    "Performer": encoder(
        heads=4, attention=LinearAttention(Favor(Projection(count=32)), order="full", position=Rotary()),
    ),
}  # fmt: skip


def run(model: EncoderConfig, rate: float, seed: int) -> Run:
    """A run of that model on expressions of the law."""
    return Run(
        model=model, objective=Classification(), source=SOURCE, optimizer=AdamW(rate=rate), steps=STEPS, batch=BATCH,
        context=CONTEXT, seed=seed, evaluate_every=STEPS // 5, checkpoint_every=STEPS,
    )  # fmt: skip


CELLS = {(arm, rate, seed): run(model, rate, seed) for seed in SEEDS for arm, model in MODELS.items() for rate in RATES}
RUNS = list(CELLS.values())
