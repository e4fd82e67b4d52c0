"""Two decoders from one seed that differ in the engine of their attention alone."""

import dataclasses

from jattn.models.decoder import DecoderConfig
from jattn.training.run import Run

USUAL = DecoderConfig(width=64, depth=2)
MODELS = [
    dataclasses.replace(USUAL, attention=dataclasses.replace(USUAL.attention, implementation=engine))
    for engine in ("tiled", "dense")
]
RUNS = [Run(model=model, steps=400, batch=4, context=512, evaluate_every=100, checkpoint_every=100) for model in MODELS]
