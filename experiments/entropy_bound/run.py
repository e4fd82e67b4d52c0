"""Decoders without positions, plain and with sigmaReparam: all that decides their logits is in Theorem 3.1."""

import dataclasses

from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.mechanisms.attention import Attention
from jattn.models.decoder import DecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

STEPS, CONTEXT = 400, 128
RATES = (3e-3, 1e-2)
SEEDS = (0, 1)

# turned queries and keys are no product of one W_K W_Q^T
PLAIN = DecoderConfig(width=64, depth=4, heads=4, attention=Attention(mask=Causal()), norm="layer", activation="gelu")
ARMS = {"plain": PLAIN, "sigmaReparam": dataclasses.replace(PLAIN, reparametrization=SigmaReparam())}
CELLS = {
    (arm, rate, seed): Run(
        model=model, optimizer=AdamW(rate=rate), steps=STEPS, batch=4, context=CONTEXT, seed=seed,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
    for rate in RATES
    for arm, model in ARMS.items()
}  # fmt: skip
RUNS = list(CELLS.values())
