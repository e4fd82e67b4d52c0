"""Decoders from scratch whose attention has one of several kernels, on text and on images pixel by pixel."""

from jattn.features import Favor, Generalized, Projection, Trigonometric
from jattn.mechanisms import Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.parts.features import Feature
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources import Source
from jattn.training.sources.pixels import Pixels
from jattn.training.sources.shakespeare import Shakespeare

STEPS = 400
RATES = (3e-3, 1e-2)
SEEDS = (0, 1)

PROJECTION, FIXED = Projection(count=64, redraw=100), Projection(count=64, ortho_scaling=1, redraw=100)
FEATURES: dict[str, Feature] = {
    "positive": Favor(PROJECTION),
    "SMREG": Favor(FIXED),
    "ReLU": Generalized("relu"),
    "exp": Generalized("exp"),
    "trigonometric": Trigonometric(PROJECTION),
}
ARMS: dict[str, Mechanism] = {
    "exact": Attention(mask=Causal(), position=Rotary()),
    **{name: LinearAttention(feature, position=Rotary()) for name, feature in FEATURES.items()},
}
# what is read, in windows of how many tokens and how many of them a step, by which arms; every other pixel of 28 x 28
TASKS: dict[str, tuple[Source, int, int, tuple[str, ...]]] = {
    "text": (Shakespeare(), 128, 8, tuple(ARMS)),
    "images": (Pixels("mnist", stride=2), 14**2, 8, ("exact", "positive", "SMREG", "ReLU")),
}
CELLS = {
    (task, arm, rate, seed): Run(
        model=DecoderConfig(width=64, depth=2, heads=2, attention=ARMS[arm]), source=source,
        optimizer=AdamW(rate=rate), steps=STEPS, batch=batch, context=context, seed=seed, evaluate_every=STEPS,
        checkpoint_every=STEPS,
    )
    for task, (source, context, batch, arms) in TASKS.items()
    for seed in SEEDS
    for arm in arms
    for rate in RATES
}  # fmt: skip
RUNS = list(CELLS.values())
