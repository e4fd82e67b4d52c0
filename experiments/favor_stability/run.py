"""Decoders whose attention estimates softmax by positive or by trigonometric features, and exact ones beside them."""

from jattn.features import Favor, Projection, Trigonometric
from jattn.mechanisms import Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run

STEPS, BATCH, CONTEXT = 400, 8, 128
RATES = (1e-3, 3e-3, 1e-2)
SEEDS = (0, 1)

# twice the width of a head; drawn anew three times in a run
PROJECTION = Projection(count=64, redraw=100)
ARMS: dict[str, Mechanism] = {
    "positive": LinearAttention(Favor(PROJECTION), position=Rotary()),
    "trigonometric": LinearAttention(Trigonometric(PROJECTION), position=Rotary()),
    "exact": Attention(mask=Causal(), position=Rotary()),
}
CELLS = {
    (arm, rate, seed): Run(
        model=DecoderConfig(width=64, depth=2, heads=2, attention=attention), optimizer=AdamW(rate=rate), steps=STEPS,
        batch=BATCH, context=CONTEXT, seed=seed, evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
    for arm, attention in ARMS.items()
    for rate in RATES
}  # fmt: skip
RUNS = list(CELLS.values())
