"""The encoders of mega_pixels, with Mega as it reads text, on the kind of play that a passage of bytes is from."""

from pathlib import Path
from typing import Any

from jattn.training.mega_presets import softmax
from jattn.training.sources.plays import Plays
from jattn.training.sweeps import listed

PIXELS = listed.executed(Path(__file__).parents[1] / "mega_pixels" / "run.py")
CONTEXT, CHUNK = 128, 16
RATES = PIXELS.RATES
SEEDS = (0,)
SOURCE = Plays("kind")
TASK: dict[str, Any] = {"source": SOURCE, "steps": 500, "batch": 32, "context": CONTEXT}

# fresh vectors and classifier as the paper has them: a pilot without learned nothing
READS: dict[str, Any] = {
    "vocabulary": 256, "classes": 3, "embedding_deviation": PIXELS.WIDTH**-0.5, "classifier_width": 2 * PIXELS.WIDTH,
}  # fmt: skip
MEGA: dict[str, Any] = {"norm": "scale", "norm_place": "after", **READS}
MODELS = {
    "Mega": PIXELS.mega(softmax(CONTEXT, None), **MEGA),
    "Mega-chunk": PIXELS.mega(softmax(CONTEXT, CHUNK), **MEGA),
    **PIXELS.others(**READS),
}
CELLS = {
    (arm, rate, seed): PIXELS.run(model, rate, seed, **TASK)
    for seed in SEEDS
    for arm, model in MODELS.items()
    for rate in RATES
}
RUNS = list(CELLS.values())
