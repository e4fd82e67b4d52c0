"""Trains the RUNS on short windows and reads long ones by each arm, as they are and after a few steps on long ones.

python experiments/entropy_abf/measure.py [SEED ...] [--smoke]: a small JSON a seed in results/read; what is there is
left.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from jattn.part import Variables
from jattn.training import metrics, state
from jattn.training.objectives.next_token import cross_entropy
from jattn.training.run import Run
from jattn.training.state import TrainState
from jattn.training.step import training_step
from jattn.training.sweeps import listed, names, results, short
from jattn.training.windows import batches, stream

HERE = Path(__file__).parent
SMOKE = Path("runs") / HERE.name / "smoke"
RUN = listed.executed(HERE / "run.py")
READ = "read"
# bytes at the end of each window that count: the same ones whatever the length
SCORED = RUN.CONTEXT // 2
WINDOWS = 96
TOKENS = 4096
DIGITS = 5


def windows(text: Int[np.ndarray, " n"], length: int, count: int) -> Int[np.ndarray, "w n"]:
    """Evenly spaced windows whose last bytes are the same for every length up to the longest."""
    ends = np.linspace(max(RUN.LENGTHS) + 1, len(text), count).astype(int)
    return np.stack([text[end - length - 1 : end] for end in ends]).astype(np.int32)


def reader(run: Run, arm: str) -> Callable[[Variables, Int[np.ndarray, "w n"]], dict[str, Any]]:
    """Mean loss in nats per byte, and each layer's mean entropy in nats, of the last bytes of some windows."""
    forward = state.forward(dataclasses.replace(run, model=dataclasses.replace(run.model, attention=RUN.ARMS[arm])))

    @jax.jit
    def some(variables: Variables, tokens: Int[Array, "b n"]) -> tuple[Array, Array]:
        logits, record, _ = forward(variables, tokens[:, :-1])
        cost = cross_entropy(logits[:, -SCORED:], tokens[:, -SCORED:])
        return cost.mean(), record.stats.entropy[:, :, -SCORED:].mean((1, 2, 3))

    def read(variables: Variables, tokens: Int[np.ndarray, "w n"]) -> dict[str, Any]:
        size = max(1, TOKENS // tokens.shape[1])
        pieces = [tokens[n : n + size] for n in range(0, len(tokens), size)]
        found = [jax.device_get(some(variables, piece)) for piece in pieces]
        loss, entropy = (np.average(each, 0, [len(piece) for piece in pieces]) for each in zip(*found, strict=True))
        return {"loss": round(float(loss), DIGITS), "entropy": [round(float(each), DIGITS) for each in entropy]}

    return read


def trained(run: Run, begun: TrainState) -> Variables:
    """What a run has learned that begins so."""
    examples = run.source.train(run.context, run.seed)
    coming = stream(batches(examples, run.batch, run.seed), 0, 0)
    reached, step, loss = begun, training_step(run), None
    for _ in range(run.steps):
        reached, shown = step(reached, next(coming))
        loss = shown.loss
    metrics.finite(run.steps, loss, HERE)
    return Variables(reached.params, reached.buffers)


def measured(run: Run, count: int, rates: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """A run's losses and entropies on so many windows, by arm, rate (0 for no further step) and length."""
    began = time.perf_counter()
    short_read = trained(run, state.fresh(run))
    text = run.source.held_out(run.context).text
    held = {length: windows(text, length, count) for length in lengths}
    found = []
    for arm in RUN.ARMS:
        read = reader(run, arm)
        for rate in (0.0, *rates):
            variables = short_read
            if rate:
                tuning = RUN.tuned(run, arm, rate)
                begun = state.fresh(tuning)
                # a step takes over the arrays that it is given
                params, buffers = jax.tree.map(np.array, (short_read.params, short_read.buffers))
                variables = trained(tuning, begun._replace(params=params, buffers=buffers))
            for length, tokens in held.items():
                found.append({"arm": arm, "rate": rate, "length": length, **read(variables, tokens)})
    return {
        "digest": names.digest(run), "seconds": round(time.perf_counter() - began), "machine": results.machine(),
        "versions": results.versions(), "points": found,
    }  # fmt: skip


def main(words: list[str]) -> int:
    """Measures what has not been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="*", type=int, help="all by default")
    parser.add_argument("--smoke", action="store_true", help="a few steps of the first seed")
    chosen = parser.parse_args(words)
    seeds = RUN.SEEDS[:1] if chosen.smoke else chosen.seeds or RUN.SEEDS
    home = (SMOKE if chosen.smoke else HERE) / "results" / READ
    home.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        run = RUN.CELLS[seed]
        if not (file := home / f"seed-{seed}.json").exists():
            if chosen.smoke:
                with short.compiled_fast():
                    found = measured(dataclasses.replace(run, steps=short.STEPS), 2, RUN.RATES[:1], RUN.LENGTHS[:2])
            else:
                found = measured(run, WINDOWS, RUN.RATES, RUN.LENGTHS)
            results.write(file, found)
        print(file, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
