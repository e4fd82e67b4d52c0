"""Trains a run from its first step to its pictures."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from jattn.part import Variables
from jattn.training import checkpoint, evaluate, metrics, plots, state
from jattn.training.run import Run
from jattn.training.sources import Examples
from jattn.training.state import TrainState
from jattn.training.step import Metrics, training_step
from jattn.training.summary import Summary
from jattn.training.windows import batches


def fit(run: Run, directory: Path) -> Summary:
    """Trains, evaluates, saves and draws into a directory that holds no run yet."""
    directory = Path(directory)
    check_empty(directory)
    # both parts are read, and the model is made, before anything is written: what is refused leaves no trace
    train, held_out = run.source.train(run.context, run.seed), run.source.held_out(run.context)
    began = state.fresh(run)
    shape = jax.ShapeDtypeStruct((run.batch, run.context), np.int32)
    jax.eval_shape(state.forward(run), Variables(began.params, began.buffers), shape)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{str(directory)!r}: {error.strerror}"
        raise OSError(f"A run's directory must be one that can be made, got {why}; name another.") from error
    print(repr(run), flush=True)
    (directory / checkpoint.RUN_FILE).write_text(run.to_json(), encoding="utf-8")
    start = time.perf_counter()
    held_out_loss = Training(run, directory, held_out).steps(began, batches(train, run.batch, run.seed))
    rows = metrics.read(directory)
    plots.draw(rows, directory, run.context)
    last = [row["loss"] for row in rows[-max(1, len(rows) // 20) :]]
    return Summary(run, directory, float(np.mean(last)), held_out_loss, time.perf_counter() - start)


def check_empty(directory: Path) -> None:
    """Refuses a directory that holds a run, so that none is written over."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"A run's directory must be no file, got {str(directory)!r}; name another.")
    for name in (checkpoint.RUN_FILE, metrics.FILE, checkpoint.FOLDER):
        if (directory / name).exists():
            raise FileExistsError(
                f"A run's directory must hold no other run, got {str(directory)!r} with its {name}; name a new one."
            )


class Training:
    """The steps of one run, with what happens between them."""

    def __init__(self, run: Run, directory: Path, held_out: Examples):
        self.run = run
        self.directory = directory
        self.held_out = held_out
        self.sample = evaluate.sample(run, held_out)
        self.score = evaluate.scorer(run)
        self.step = training_step(run)
        self.clock = time.perf_counter()

    def steps(self, train_state: TrainState, batches: Sequence[dict]) -> float:
        """Takes every step and gives the loss on the whole held-out text after the last one."""
        last = self.run.steps
        held_out_loss = pending = None
        with (
            checkpoint.manager(self.directory) as saver,
            metrics.Writer(self.directory) as writer,
            tqdm(total=last, unit="step", dynamic_ncols=True) as bar,
        ):
            self.clock = time.perf_counter()
            for number in range(1, last + 1):
                train_state, shown = self.step(train_state, batches[number - 1])
                # the step before is read only now, so that the device always has work ahead
                if pending is not None:
                    self._keep(writer, bar, *pending, self._read(*pending), None)
                pending = (number, shown)
                evaluates = number == last or number % self.run.evaluate_every == 0
                saves = number == last or number % self.run.checkpoint_every == 0
                if evaluates or saves:
                    # read first: a loss that is no number must not be saved over a good state
                    rate = self._read(*pending)
                    held_out_loss = self._evaluate(train_state, bar) if evaluates else None
                    self._keep(writer, bar, *pending, rate, held_out_loss)
                    pending = None
                if saves:
                    checkpoint.save(saver, self.run, train_state)
                if evaluates or saves:
                    self.clock = time.perf_counter()
        return held_out_loss

    def _read(self, number: int, shown: Metrics) -> float:
        """Waits for a step; its tokens per second."""
        metrics.finite(number, shown.loss, self.directory)
        now, before = time.perf_counter(), self.clock
        self.clock = now
        return self.run.batch * self.run.context / (now - before)

    def _keep(
        self,
        writer: metrics.Writer,
        bar: tqdm,
        number: int,
        shown: Metrics,
        tokens_per_second: float,
        held_out_loss: float | None,
    ) -> None:
        writer.write(metrics.row(number, shown, tokens_per_second, held_out_loss))
        bar.update()
        bar.set_postfix(loss=f"{float(shown.loss):.3f}", refresh=False)

    def _evaluate(self, train_state: TrainState, bar: tqdm) -> float:
        """The held-out loss: of the sample during training, of the whole text after the last step."""
        whole = int(train_state.step) == self.run.steps
        bar.set_description("held-out loss, whole text" if whole else "held-out loss")
        numbers = range(len(self.held_out)) if whole else self.sample
        size = evaluate.batch_size(self.run, self.held_out)
        variables = Variables(train_state.params, train_state.buffers)
        loss = evaluate.loss_on(self.score, variables, self.held_out, numbers, size)
        bar.set_description("")
        return loss
