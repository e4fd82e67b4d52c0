"""Trains the RUNS, gives their weights to Performers, and reads these before and during a few steps.

python experiments/favor_backward_compatible/measure.py [SEED ...] [--smoke]: a small JSON a seed in results/read; what
is there is left.
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
WINDOWS = 128
DIGITS = 5
# of directions that no training has seen
FRESH = 1000

Read = Callable[[Variables], dict[str, float]]


def reader(run: Run, count: int) -> Read:
    """Mean loss in nats per byte, and the share of bytes guessed, of some held-out windows."""
    forward = state.forward(run)
    text = np.frombuffer(run.source.held_out(run.context).text, np.uint8)
    starts = np.linspace(0, len(text) - run.context - 1, count).astype(int)
    tokens = np.stack([text[start : start + run.context + 1] for start in starts]).astype(np.int32)

    @jax.jit
    def some(variables: Variables, tokens: Int[Array, "b n"]) -> tuple[Array, Array]:
        logits, _, _ = forward(variables, tokens[:, :-1])
        return cross_entropy(logits, tokens[:, 1:]).mean(), (logits.argmax(-1) == tokens[:, 1:]).mean()

    def read(variables: Variables) -> dict[str, float]:
        loss, guessed = some(variables, tokens)
        return {"loss": round(float(loss), DIGITS), "accuracy": round(float(guessed), DIGITS)}

    return read


def begun(run: Run, params: dict) -> TrainState:
    """The state before a run's first step, with weights that another run has learned."""
    # a step takes over the arrays that it is given
    return state.fresh(run)._replace(params=jax.tree.map(np.array, params))


def trained(run: Run, reached: TrainState, read_at: Sequence[int], read: Read) -> tuple[TrainState, list[dict]]:
    """What a run reaches from a state, read before its steps and after some of them."""
    examples = run.source.train(run.context, run.seed)
    coming, step, found = stream(batches(examples, run.batch, run.seed), 0, 0), training_step(run), []
    for number in range(run.steps + 1):
        if number in read_at:
            found.append({"step": number, **read(Variables(reached.params, reached.buffers))})
        if number < run.steps:
            reached, shown = step(reached, next(coming))
    metrics.finite(run.steps, shown.loss, HERE)
    return reached, found


def anew(run: Run) -> dict:
    """The buffers of a run with directions of another draw."""
    return state.fresh(dataclasses.replace(run, seed=run.seed + FRESH)).buffers


def measured(run: Run, count: int, rates: Sequence[float], tuning_steps: int) -> dict[str, Any]:
    """A run's losses with softmax, and those of Performers with its weights and from scratch, by arm, rate and step."""
    began = time.perf_counter()
    whole, softmax = trained(run, state.fresh(run), (run.steps,), reader(run, count))
    params = jax.tree.map(np.array, whole.params)
    points = [{"arm": "softmax", "weights": "scratch", "rate": run.optimizer.rate, **softmax[0]}]
    read_at = [number for number in RUN.READ_AT if number <= tuning_steps]
    for arm in RUN.ARMS:
        for rate in rates:
            tuning = dataclasses.replace(RUN.tuned(run, arm, rate), steps=tuning_steps)
            read = reader(tuning, count)
            starts = {"softmax": begun(tuning, params), "scratch": state.fresh(tuning)}
            for weights, start in starts.items():
                reached, found = trained(tuning, start, read_at, read)
                same = {"arm": arm, "weights": weights, "rate": rate}
                points += [{**same, **each} for each in found]
                other = read(Variables(reached.params, anew(tuning)))
                points.append({**same, "step": tuning_steps, "directions": "anew", **other})
    return {
        "digest": names.digest(run), "seconds": round(time.perf_counter() - began), "machine": results.machine(),
        "versions": results.versions(), "points": points,
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
                    small = dataclasses.replace(run, steps=short.STEPS, context=short.CONTEXT, batch=short.BATCH)
                    found = measured(small, 2, RUN.RATES[:1], RUN.READ_AT[1])
            else:
                found = measured(run, WINDOWS, RUN.RATES, RUN.TUNING_STEPS)
            results.write(file, found)
        print(file, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
