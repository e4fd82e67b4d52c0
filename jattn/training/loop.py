"""Trains a run from its first step, or from its newest checkpoint, to its pictures."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jattn.part import Variables
from jattn.training import checkpoint, evaluate, hosts, lock, metrics, plots, sharding, state, tensorboard
from jattn.training.checkpoint import Restored
from jattn.training.run import Run
from jattn.training.state import TrainState
from jattn.training.step import Metrics, training_step
from jattn.training.stopping import Stopping
from jattn.training.summary import Summary
from jattn.training.windows import batches, shuffled, stream


def fit(run: Run, directory: Path, *, workers: int = 0, events: Path | None = None) -> Summary:
    """Trains, evaluates, saves and draws into a directory that holds no run yet.

    `workers` threads read batches ahead, the same ones for any number; `events` is a directory of TensorBoard's. The
    first Ctrl-C saves and raises KeyboardInterrupt with the words that say how to go on.
    """
    directory = Path(directory)
    run.objective.check(run.model, run.context)
    with hosts.together():
        check_empty(directory)
    # both parts are read, and the model is made, before anything is written: what is refused leaves no trace
    training = Training(run, directory, workers, events)
    began = training.began()
    with hosts.together():
        make(directory)
    with _held(directory):
        with hosts.together():
            if hosts.first():
                # another process may have begun there meanwhile
                check_empty(directory)
                checkpoint.write_run(directory, run)
        with hosts.together():
            hosts.sees(directory / checkpoint.RUN_FILE)
        return training.finish(began)


def resume(run: Run, directory: Path, *, workers: int = 0, events: Path | None = None) -> Summary:
    """Goes on with the run of a directory from its newest whole checkpoint; losses are as if it had never stopped.

    `run` is the directory's own, see `checkpoint.read_run`. A run that was over is only summed up.
    """
    directory = Path(directory)
    training = Training(run, directory, workers, events)
    with _held(directory):
        with hosts.together():
            # no checkpoint is gone on with whose steps were not all written down
            whole = metrics.whole(directory)
            known = checkpoint.saved(directory, whole)
        whole, known = hosts.same([whole, known])
        reached = checkpoint.load(directory, run, most=whole) if known else training.began()
        step = int(reached.state.step)
        with hosts.together():
            if hosts.first():
                metrics.cut(directory, step)
                checkpoint.tidy(directory, step)
        return training.finish(reached)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Keeps other runs out; host 0 holds the directory for all."""
    with contextlib.ExitStack() as stack:
        with hosts.together():
            if hosts.first():
                stack.enter_context(lock.held(directory))
        yield


def make(directory: Path) -> None:
    """Makes a run's directory, or says why it cannot be one."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{str(directory)!r}: {error.strerror}"
        raise OSError(f"A run's directory must be one that can be made, got {why}; name another.") from error


def check_empty(directory: Path) -> None:
    """Refuses a directory that holds a run, so that none is written over."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"A run's directory must be no file, got {str(directory)!r}; name another.")
    for name in (checkpoint.RUN_FILE, metrics.FILE, checkpoint.FOLDER):
        if (directory / name).exists():
            raise FileExistsError(
                f"A run's directory must hold no other run, got {str(directory)!r} with its {name}; name a new one, or "
                f"go on with that run by jattn train --resume {directory}."
            )


class Training:
    """The steps of one run, with what happens between them."""

    def __init__(self, run: Run, directory: Path, workers: int = 0, events: Path | None = None):
        self.run = run
        self.directory = directory
        self.workers = workers
        self.events = events
        with hosts.together():
            if events is not None:
                tensorboard.needed()
                tensorboard.made(events)
            examples = run.source.train(run.context, run.seed)
            if run.batch > len(examples):
                raise ValueError(
                    f"Run.batch must be at most the {len(examples)} training examples, got {run.batch}; "
                    f"take a smaller one, or a smaller context."
                )
            self.held_out = run.source.held_out(run.context)
            axes = sharding.axes(run.mesh)
        hosts.check(run, axes)
        self.batches, self.placed, self.place = batches(examples, run.batch, run.seed), dict, None
        if hosts.several():
            sharding.check_batch(axes, run.batch, run.accumulate)
            self.place = axes.sharding("batch")
            self.batches = hosts.mine(shuffled(examples, run.seed), run.batch, self.place)
            self.placed = hosts.joined(run.batch, self.place)
        self.sample = evaluate.sample(run, self.held_out)
        self.score = evaluate.scorer(run)
        self.step = training_step(run)
        # when the last two steps that were waited for were done
        self.clock = (time.perf_counter(),) * 2

    def began(self) -> Restored:
        """The state before the first step, and no example seen."""
        fresh = state.fresh(self.run)
        if self.run.init_from is not None:
            like = state.of_model(Variables(fresh.params, fresh.buffers))
            with hosts.together():
                found = checkpoint.weights(Path(self.run.init_from), like)
            found = jax.tree.map(sharding.put, found, jax.tree.map(lambda array: array.sharding, like))
            fresh = fresh._replace(params=fresh.params | found.params, buffers=fresh.buffers | found.buffers)
        # what model, objective and source would refuse of one another
        outline = self.run.source.outline(self.run.context)
        batch = {name: jax.ShapeDtypeStruct((self.run.batch, *x.shape), x.dtype) for name, x in outline.items()}
        keyed = partial(self.run.objective, state.forward(self.run), rng=state.key(self.run, state.STEPS))
        jax.eval_shape(lambda *given: keyed(*given)[0], Variables(fresh.params, fresh.buffers), batch)
        return Restored(fresh, 0)

    def finish(self, reached: Restored) -> Summary:
        """Takes the steps that are left, draws, and sums up."""
        start, first = time.perf_counter(), int(reached.state.step)
        if hosts.first():
            print(repr(self.run), flush=True)
        if first and hosts.first():
            print(f"goes on after step {first:,} of {self.run.steps:,}", flush=True)
        if hosts.first() and (told := sharding.spare(self.run.mesh)):
            print(told, flush=True)
        with Stopping() as stopping:
            held_out = self.steps(reached, hosts.Asked(stopping))
        shown = None
        with hosts.together():
            if hosts.first():
                rows = metrics.read(self.directory)
                plots.draw(rows, self.directory, self.run)
                last = [row["loss"] for row in rows[-max(1, len(rows) // 20) :]]
                shown = float(np.mean(last)), rows[-1]["heldout_loss"] if held_out is None else held_out["loss"]
        train_loss, held_out_loss = hosts.same(shown)
        seconds = time.perf_counter() - start
        return Summary(self.run, self.directory, train_loss, held_out_loss, seconds, first)

    def steps(self, reached: Restored, asked: hosts.Asked) -> dict[str, float] | None:
        """Takes every step that is left; gives what is held out after the last one, None where none was left."""
        train_state, last = reached.state, self.run.steps
        first = int(train_state.step)
        held_out = pending = None
        coming = stream(self.batches, reached.example // self.run.batch, self.workers)
        with (
            checkpoint.Saver(self.directory, self.run) as saver,
            self._rows() as writer,
            self._events(first) as events,
            tqdm(total=last, initial=first, unit="step", dynamic_ncols=True, disable=not hosts.first()) as bar,
        ):
            if first and self._evaluates(first) and self._unevaluated():
                # its process was stopped while it evaluated
                held_out = self._evaluate(train_state, bar, asked)
                if held_out is not None and writer:
                    row = metrics.evaluated(metrics.read(self.directory)[-1], held_out)
                    writer.amend(row)
                    if events:
                        events.write({name: row[name] for name in ("step", *map(metrics.held_out_name, held_out))})
            self.clock = (time.perf_counter(),) * 2
            stops = asked()
            for number in range(first + 1, last + 1) if not stops else ():
                train_state, shown = self.step(train_state, self.placed(next(coming)))
                hosts.settle(shown)
                # the step before is read only now, so that the device always has work ahead
                if pending is not None:
                    self._keep((writer, events), bar, *pending, self._read(*pending), None)
                pending = (number, shown)
                evaluates, saves = self._evaluates(number), number == last or number % self.run.checkpoint_every == 0
                if asked() or evaluates or saves:
                    # read first: what is no number must not be saved over a good state
                    rate = self._read(*pending, steps=2)
                    metrics.learned(number, bool(state.finite(train_state.params)), self.directory)
                    held_out = self._evaluate(train_state, bar, asked) if evaluates else None
                    self._keep((writer, events), bar, *pending, rate, held_out)
                    pending = None
                    # asked once: a signal may come between two looks
                    stops = asked()
                    if saves or stops:
                        if writer:
                            writer.sync()
                        saver.save(train_state, number * self.run.batch)
                    if stops:
                        break
                    self.clock = (time.perf_counter(),) * 2
                saver.check()
        reached = int(train_state.step)
        if stops and (reached < last or held_out is None):
            more = " and its --hosts options, on every host" if hosts.several() else ""
            raise KeyboardInterrupt(
                f"Stopped after step {reached} of {last}, which is saved; go on with "
                f"jattn train --resume {self.directory}{more}."
            )
        return held_out

    def _unevaluated(self) -> bool:
        with hosts.together():
            missing = hosts.first() and "heldout_loss" not in metrics.read(self.directory)[-1]
        return hosts.same(missing)

    def _evaluates(self, step: int) -> bool:
        return step == self.run.steps or step % self.run.evaluate_every == 0

    def _rows(self) -> contextlib.AbstractContextManager[metrics.Writer | None]:
        return metrics.Writer(self.directory) if hosts.first() else contextlib.nullcontext()

    def _events(self, first: int) -> contextlib.AbstractContextManager[tensorboard.Writer | None]:
        return (
            contextlib.nullcontext()
            if self.events is None or not hosts.first()
            else tensorboard.Writer(self.events, first)
        )

    def _read(self, number: int, shown: Metrics, steps: int = 1) -> float:
        """Waits for a step; its tokens per second, those of two steps where it is waited for right after another."""
        metrics.finite(number, shown.loss, self.directory)
        now, (earlier, before) = time.perf_counter(), self.clock
        self.clock = before, now
        if steps == 2 and earlier < before:
            return 2 * self.run.batch * self.run.tokens / (now - earlier)
        return self.run.batch * self.run.tokens / (now - before)

    def _keep(
        self,
        writers: tuple,
        bar: tqdm,
        number: int,
        shown: Metrics,
        tokens_per_second: float,
        held_out: dict[str, float] | None,
    ) -> None:
        row = metrics.row(number, shown, tokens_per_second, held_out)
        for writer in filter(None, writers):
            writer.write(row)
        bar.update()
        bar.set_postfix(loss=f"{float(shown.loss):.3f}", refresh=False)

    def _evaluate(self, train_state: TrainState, bar: tqdm, asked: hosts.Asked) -> dict[str, float] | None:
        """Means of what is held out: of a sample during training, of all scored after the last; None if stopped."""
        whole = int(train_state.step) == self.run.steps
        bar.set_description("held-out loss, at the end" if whole else "held-out loss")
        numbers = evaluate.whole(self.held_out) if whole else self.sample
        size = evaluate.batch_size(self.run, self.held_out)
        variables = Variables(train_state.params, train_state.buffers)

        def score(*arguments: Any) -> tuple:
            if asked():
                raise _Stopped
            return self.score(*arguments)

        try:
            means = evaluate.means_on(score, variables, self.held_out, numbers, size, self.place)
        except _Stopped:
            return None
        bar.set_description("")
        metrics.finite(int(train_state.step), means["loss"], self.directory, "held-out loss")
        return means


class _Stopped(Exception):
    """Never leaves this file: an evaluation that was asked to stop."""
