"""Times training steps with a checkpoint saved among them beside the same steps without."""

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jattn.benchmarks import Row, turns
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.checkpoint import Saver
from jattn.training.run import Run
from jattn.training.step import training_step

PEER, SAVING = "without a save", "with one save"


class Setting(NamedTuple):
    """`steps` of the run are one turn; enough of them that the save, which goes on beside them, has ended."""

    run: Run
    steps: int
    rounds: int
    turns: int


FULL = Setting(Run(), steps=40, rounds=5, turns=1)
SMOKE = Setting(Run(model=DecoderConfig(width=8, depth=1), batch=1, context=8), steps=2, rounds=1, turns=1)


def measure(setting: Setting) -> list[Row]:
    """A row for the steps alone and one for the same with a save, with its share of the time at the run's interval."""
    run = setting.run
    step, held, saved = training_step(run), state.fresh(run), 0
    tokens = np.random.default_rng(0).integers(0, 256, (run.batch, run.context + 1)).astype(np.int32)
    with tempfile.TemporaryDirectory() as directory, Saver(Path(directory), run) as saver:

        def go(saves: bool) -> None:
            nonlocal held, saved
            for number in range(setting.steps):
                held, metrics = step(held, {"tokens": tokens})
                jax.block_until_ready(metrics)
                if saves and not number:
                    saved += 1
                    saver.save(held, saved)
                saver.check()

        taken = turns.interleaved({PEER: lambda: go(False), SAVING: lambda: go(True)}, setting.rounds, setting.turns)
    alone, both = (statistics.median(taken[name]) for name in (PEER, SAVING))
    extra, interval = max(0.0, both - alone), alone / setting.steps * run.checkpoint_every
    note = f"{extra:.0f} ms a save, {extra / interval:.2%} of the time at one every {run.checkpoint_every} steps"
    return turns.rows(f"{setting.steps} steps", taken, PEER, {}, {SAVING: note})
