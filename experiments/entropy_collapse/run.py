"""Decoders with norms after each sum, plain and with sigmaReparam, on a grid of learning rate and warm-up."""

import dataclasses

from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

STEPS, CONTEXT = 300, 128
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
# shares of the steps; the first is a single step
WARM_UPS = (0.0, 0.2)
SEEDS = (0, 1, 2, 3, 4)

PLAIN = DecoderConfig(width=64, depth=4, heads=4, norm="layer", norm_place="after", activation="gelu")
ARMS = {"plain": PLAIN, "sigmaReparam": dataclasses.replace(PLAIN, reparametrization=SigmaReparam())}
CELLS = {
    (arm, rate, warm_up, seed): Run(
        model=model, optimizer=AdamW(rate=rate, warm_up=warm_up), steps=STEPS, batch=4, context=CONTEXT, seed=seed,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
    for arm, model in ARMS.items()
    for warm_up in WARM_UPS
    for rate in RATES
}  # fmt: skip
RUNS = list(CELLS.values())
