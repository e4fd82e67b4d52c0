"""`jattn sample`."""

import dataclasses
import os

from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Sample:
    """Writes text that goes on from a prompt."""

    dir: str | None = None
    prompt: str = "\n"
    count: int = 500
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}; give a small whole number.")
        if self.count < 1:
            raise ValueError(f"--count must be at least 1, got {self.count}; give the number of bytes to write.")


def command(held: Sample, found: dict, asks: bool) -> int:
    """Prints a prompt and what the model goes on with."""
    if (chosen := runs.built(held, found, asks, "sample")) is None:
        return 0
    home = runs.directory(chosen.dir)
    import jax
    import numpy as np
    from flax import nnx

    from jattn.models.decoder import DecoderConfig
    from jattn.models.sampling import generate, within
    from jattn.training import state

    run, variables = runs.trained(home, None)
    runs.check_bytes(run, "jattn sample")
    if not isinstance(run.model, DecoderConfig):
        got = type(run.model).__name__
        raise ValueError(f"jattn sample goes on with a text by a decoder, got {got}; jattn eval measures this run.")
    model = state.network(dataclasses.replace(run, model=within(run.model, run.context)))
    nnx.update(model, variables.params, variables.buffers)
    # in bytes, as the command line gave them
    prompt = np.frombuffer(os.fsencode(chosen.prompt), np.uint8).astype(np.int32)
    tokens = generate(
        model,
        prompt[None],
        count=chosen.count,
        rng=jax.random.key(chosen.seed),
        temperature=chosen.temperature,
        top_k=chosen.top_k,
        top_p=chosen.top_p,
    )
    print(bytes(np.asarray(tokens[0], np.uint8)).decode(errors="replace"))
    return 0
