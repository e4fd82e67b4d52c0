"""Decoders trained with softmax, and the Performers that go on with their weights."""

import dataclasses

from jattn.features import Favor, Projection
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

STEPS, BATCH, CONTEXT = 600, 8, 128
SEEDS = (0, 1, 2)
# of the Performers, a tenth of the steps, and where they are read on the way
TUNING_STEPS, READ_AT = 60, (0, 15, 30, 60)
RATES = (1e-3, 3e-3)

MODEL = DecoderConfig(width=64, depth=2, heads=2, attention=Attention(mask=Causal(), position=Rotary()))
# steps from one draw of the directions to the next, 0 for a single draw; twice as many directions as a head is wide
REDRAWS = {"redrawn": 5, "kept": 0}
ARMS = {
    name: LinearAttention(Favor(Projection(count=64, redraw=redraw)), position=Rotary())
    for name, redraw in REDRAWS.items()
}
CELLS = {
    seed: Run(
        model=MODEL, optimizer=AdamW(), steps=STEPS, batch=BATCH, context=CONTEXT, seed=seed,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
}  # fmt: skip
RUNS = list(CELLS.values())


def tuned(run: Run, arm: str, rate: float) -> Run:
    """The few steps of a Performer, with a run's weights or from scratch, on windows that it has not read."""
    model = dataclasses.replace(run.model, attention=ARMS[arm])
    return dataclasses.replace(
        run, model=model, optimizer=AdamW(rate=rate), steps=TUNING_STEPS, seed=run.seed + len(SEEDS)
    )
