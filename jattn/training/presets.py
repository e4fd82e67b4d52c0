"""Runs by name."""

import difflib

from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sharding import Mesh

PRESETS = {
    # six minutes on two CPU cores
    "default": Run(),
    # under a minute: a loss that shows whether a change learns at all
    "tiny": Run(model=DecoderConfig(width=64, depth=2), steps=800, evaluate_every=200),
    # a TPU slice: 303 million parameters on windows of 65,536 tokens, split over all chips
    "long_context": Run(
        model=DecoderConfig(width=1024, depth=24, heads=8),
        optimizer=AdamW(rate=3e-4),
        batch=1,
        context=65536,
        dtype="bfloat16",
        remat="block",
        mesh=Mesh(data=1, context=-1),
    ),
    # seconds: every stage once
    "smoke": Run(
        model=DecoderConfig(width=16, depth=2),
        steps=20,
        batch=4,
        context=32,
        evaluate_every=10,
        checkpoint_every=10,
    ),
    # a billion parameters, for a TPU slice or GPUs: `jattn plan --preset billion` says which mesh holds it
    "billion": Run(
        model=DecoderConfig(width=2048, depth=18, heads=16, vocabulary=32768),
        optimizer=AdamW(rate=3e-4),
        batch=64,
        context=8192,
        dtype="bfloat16",
        remat="block",
    ),
}


def preset(name: str) -> Run:
    """The run of that name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 3, 0.4) or list(PRESETS)
        known = ", ".join(PRESETS)
        raise ValueError(f"A preset must be one of {known}, got {name!r}; did you mean {' or '.join(near)}?")
    return PRESETS[name]
