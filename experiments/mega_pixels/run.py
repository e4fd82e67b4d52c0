"""Encoders of Mega, whole and in chunks, beside a Transformer and a state space model, on digits pixel by pixel."""

from typing import Any

from jattn.layers.heads.grouped import Grouped
from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.encoder import EncoderConfig
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.parts.transitions.s4d import S4D
from jattn.training.mega_presets import laplace
from jattn.training.objectives.classification import Classification
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.pixel_sequences import PixelSequences

# two of the fourteen lines that are kept of an image
CHUNK = 28
RATES = (3e-3, 1e-2)
SEEDS = (0, 1)
SOURCE = PixelSequences("mnist", stride=2)
CONTEXT = SOURCE.shortest
TASK: dict[str, Any] = {"source": SOURCE, "steps": 800, "batch": 16, "context": CONTEXT}

WIDTH, DEPTH = 64, 2


def mega(attention: Attention, **own: Any) -> EncoderConfig:
    """An encoder of Mega's blocks, whose averages hear both directions."""
    return EncoderConfig(
        width=WIDTH, depth=DEPTH, heads=1, projection=Mega(shared=32, recurrence=Recurrence(backward=DampedEma())),
        attention=attention, feedforward="biased", activation="silu", expansion=2, epsilon=1e-5, **own,
    )  # fmt: skip


def others(**own: Any) -> dict[str, EncoderConfig]:
    """The encoders that Mega is compared with."""
    space = Recurrence(S4D(), backward=S4D(), residual="none")
    shape: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "heads": 2, "norm": "layer"}
    return {
        # feed-forward layers of 320 bring it nearer to the others' numbers
        "Transformer": EncoderConfig(expansion=5, **shape, **own),
        # each token attends to itself alone, which leaves two products behind the recurrence
        "S4D": EncoderConfig(
            projection=Smoothed(Grouped(), space),
            attention=Attention(mask=BlockDiagonal(1), implementation="dense"), **shape, **own,
        ),
    }  # fmt: skip


def run(model: EncoderConfig, rate: float, seed: int, **task: Any) -> Run:
    """A run of that model on the task."""
    steps = task["steps"]
    return Run(
        model=model, objective=Classification(), optimizer=AdamW(rate=rate), seed=seed, evaluate_every=steps // 4,
        checkpoint_every=steps, **task,
    )  # fmt: skip


READS: dict[str, Any] = {"reads": "numbers", "classes": 10}
MODELS = {
    "Mega": mega(laplace(CONTEXT, None), norm="batch", **READS),
    "Mega-chunk": mega(laplace(CONTEXT, CHUNK), norm="batch", **READS),
    **others(**READS),
}
CELLS = {
    (arm, rate, seed): run(model, rate, seed, **TASK)
    for seed in SEEDS
    for arm, model in MODELS.items()
    for rate in RATES
}
RUNS = list(CELLS.values())
