"""Decoders trained on short windows, and the attentions by which they read longer ones."""

import dataclasses

from jattn.mechanisms.entropy_abf import entropy_abf
from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

CONTEXT, STEPS, BATCH = 128, 600, 16
SEEDS = (0, 1, 2)
LENGTHS = (CONTEXT, 2 * CONTEXT, 4 * CONTEXT, 8 * CONTEXT)
# the paper's: four times the context, 6 steps on about 100 samples
TARGET, TUNING_STEPS, TUNING_BATCH = 4 * CONTEXT, 6, 16
RATES = (3e-4, 1e-3, 3e-3)

MODEL = DecoderConfig(width=64, depth=4, heads=2)
SHIPPED = entropy_abf(MODEL.attention, CONTEXT, skip=0)
ARMS = {
    "plain": MODEL.attention,
    "ABF": dataclasses.replace(SHIPPED, score=()),
    "as published": entropy_abf(MODEL.attention, CONTEXT),
    "as shipped": SHIPPED,
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
    """The few steps on long windows that follow a run, by another attention."""
    model = dataclasses.replace(run.model, attention=ARMS[arm])
    return dataclasses.replace(
        run, model=model, optimizer=AdamW(rate=rate), steps=TUNING_STEPS, batch=TUNING_BATCH, context=TARGET
    )
