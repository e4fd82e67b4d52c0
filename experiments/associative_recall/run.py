"""Recall of pairs by exact attention and by five kinds of attention whose state is of one size, in several sizes."""

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.delta import DeltaAttention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.short_convolution import ShortConvolution
from jattn.models.decoder import DecoderConfig
from jattn.parts.decays.gated import Gated
from jattn.parts.decays.retention import Retention
from jattn.parts.features.favor import Favor
from jattn.parts.features.hedgehog import Hedgehog
from jattn.parts.features.identity import Identity
from jattn.parts.features.projections import Projection
from jattn.parts.masks.causal import Causal
from jattn.training.objectives.labeled_tokens import LabeledTokens
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.associative_recall import AssociativeRecall

STEPS, BATCH, PAIRS, CONTEXT, WIDTH = 1000, 32, 8, 24, 32
RATES = (1e-2, 3e-2)
SEED = 0
HEADS = (8, 4, 1)


EXACT, HEDGEHOG, RETENTION, GATED = (
    Attention(mask=Causal(), implementation="dense"), LinearAttention(Hedgehog()),
    LinearAttention(Identity(), Retention()), LinearAttention(Identity(), Gated()),
)  # fmt: skip
# of each arm, from the smallest state on: heads, which share the width, and what they attend by
ARMS = {
    "exact": [(heads, EXACT) for heads in (8, 1)],
    "FAVOR+": [(4, LinearAttention(Favor(Projection(count)))) for count in (8, 32, 128)],
    "Hedgehog": [(heads, HEDGEHOG) for heads in HEADS],
    "retention": [(heads, RETENTION) for heads in HEADS],
    "gated": [(heads, GATED) for heads in HEADS],
    "delta": [(heads, DeltaAttention()) for heads in HEADS],
}
SOURCE = AssociativeRecall(pairs=PAIRS)
CELLS = {
    (arm, size, rate): Run(
        model=DecoderConfig(
            width=WIDTH, depth=1, heads=heads, vocabulary=SOURCE.vocabulary, attention=ShortConvolution(attention),
        ),
        objective=LabeledTokens(), source=SOURCE,
        optimizer=AdamW(rate=rate, warm_up=0.1), steps=STEPS, batch=BATCH, context=CONTEXT, seed=SEED,
        evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for rate in RATES
    for arm, sizes in ARMS.items()
    for size, (heads, attention) in enumerate(sizes)
}  # fmt: skip
RUNS = list(CELLS.values())
