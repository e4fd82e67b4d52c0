"""Decoders of Mega, whole and in chunks, beside a Transformer and a state space model, on text."""

from jattn.layers.heads.grouped import Grouped
from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.decoder import DecoderConfig
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.parts.transitions.s4d import S4D
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

STEPS, BATCH, CONTEXT, CHUNK = 500, 8, 256, 32
RATES = (3e-3, 1e-2)
SEEDS = (0, 1)

WIDTH, DEPTH = 64, 2


def mega(attention: Attention, heads: Mega = Mega(shared=32)) -> DecoderConfig:
    """A decoder of Mega's blocks."""
    return DecoderConfig(
        width=WIDTH, depth=DEPTH, heads=1, projection=heads, attention=attention, norm="layer", feedforward="biased",
        activation="silu", expansion=2,
    )  # fmt: skip


MODELS = {
    "Transformer": DecoderConfig(
        width=WIDTH, depth=DEPTH, heads=2, attention=Attention(mask=Causal(), position=Rotary()), norm="layer",
    ),
    "Mega": mega(Attention(RotaryBias(), Causal())),
    "Mega-chunk": mega(Attention(RotaryBias(), Causal() & BlockDiagonal(CHUNK))),
    # each token attends to itself alone, which leaves two products behind the recurrence
    "S4D": DecoderConfig(
        width=WIDTH, depth=DEPTH, heads=2, projection=Smoothed(Grouped(), Recurrence(S4D(), residual="none")),
        attention=Attention(mask=BlockDiagonal(1), implementation="dense"), norm="layer",
    ),
}  # fmt: skip


def run(model: DecoderConfig, rate: float, seed: int) -> Run:
    """A run of that model on the embedded text."""
    return Run(
        model=model, optimizer=AdamW(rate=rate), steps=STEPS, batch=BATCH, context=CONTEXT, seed=seed,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )  # fmt: skip


CELLS = {(arm, rate, seed): run(model, rate, seed) for seed in SEEDS for arm, model in MODELS.items() for rate in RATES}
RUNS = list(CELLS.values())
