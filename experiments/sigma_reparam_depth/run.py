"""Encoder-decoders of fifty layers a side, norms behind each sum, plain and with sigmaReparam; norms before, beside."""

import dataclasses

from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.mechanisms.attention import Attention
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.training.objectives.target_given_source import TargetGivenSource
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.transduction import Transduction

STEPS, BATCH, SYMBOLS, LONGEST = 500, 16, 8, 8
RATES = (1e-4, 3e-4, 1e-3)
# shares of the steps; the first is a single step
WARM_UPS = (0.0, 0.1)
SEEDS = (0, 1)

# strings are shorter than a tile
SHORT = Attention(implementation="dense")
PLAIN = EncoderDecoderConfig(
    width=64, depth=50, heads=4, vocabulary=SYMBOLS + 1, norm="layer", norm_place="after", activation="gelu",
    attention=Attention(mask=Causal(), implementation="dense"), source_attention=SHORT, cross_attention=SHORT,
)  # fmt: skip
ARMS = {
    "plain": PLAIN,
    # the iteration finds the same norms at the start as the decomposition, sooner
    "sigmaReparam": dataclasses.replace(PLAIN, reparametrization=SigmaReparam(begin="iterated")),
    "norms before": dataclasses.replace(PLAIN, norm_place="before"),
}
CELLS = {
    (arm, rate, warm_up, seed): Run(
        model=model, objective=TargetGivenSource(), source=Transduction(task="sort", symbols=SYMBOLS),
        optimizer=AdamW(rate=rate, warm_up=warm_up), steps=STEPS, batch=BATCH, context=LONGEST, seed=seed,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
    for arm, model in ARMS.items()
    for warm_up in WARM_UPS
    for rate in RATES
}  # fmt: skip
RUNS = list(CELLS.values())
