"""Two small decoders of entropy-guided attention, with all of its nonlinearities and with softmax alone."""

import dataclasses

from jattn.training.presets import PRESETS

TRAINED = ("SM+LN+G", "SM+ScFuFFN")
SHAPE = {"width": 48, "heads": 3, "depth": 2}
RUNS = [
    dataclasses.replace(
        PRESETS[name],
        model=dataclasses.replace(PRESETS[name].model, **SHAPE),
        steps=600, batch=64, context=24, evaluate_every=200, checkpoint_every=200,
    )
    for name in TRAINED
]  # fmt: skip
