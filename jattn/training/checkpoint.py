"""Saves the state of a run under its directory and reads it back, however its last process ended."""

import contextlib
import gc
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jattn.part import Variables
from jattn.training import disk, hosts, sharding, state
from jattn.training.objectives import LEARNED
from jattn.training.plain import Resolve, agrees, to_plain
from jattn.training.run import Run
from jattn.training.state import TrainState

FOLDER = "checkpoints"
# what could not be read is kept, for the fault may have been the machine's
ASIDE = "unread"
# how orbax names a save until it is whole
UNFINISHED = ".orbax-checkpoint-tmp"
RUN_FILE = "run.json"
# the data's position is one number over all hosts, so that another number of hosts can go on from it
ITEMS = ("state", "data", "run")


class Restored(NamedTuple):
    """A state, and the global number of the first training example that it has not seen."""

    state: TrainState
    example: int


def manager(directory: Path, *, writes: bool) -> ocp.CheckpointManager:
    """Orbax's manager of a run's checkpoints, which keeps the latest two; who writes must hold the directory's lock."""
    # all hosts write one checkpoint; each reads by itself, so that what it cannot read leaves none of them waiting
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=writes,
        enable_async_checkpointing=writes,
        multiprocessing_options=ocp.options.MultiprocessingOptions() if writes else alone,
    )
    # orbax takes no relative path
    return ocp.CheckpointManager((directory / FOLDER).absolute(), item_names=ITEMS, options=options)


class Saver:
    """Writes checkpoints while training goes on; leaving it waits for the last one."""

    def __init__(self, directory: Path, run: Run):
        self.directory = directory
        self.run = run
        self.manager = manager(directory, writes=True)
        self.quiet = contextlib.ExitStack()

    def __enter__(self) -> "Saver":
        # a failed write is told in one sentence by `_whole`, not by orbax's traces
        self.quiet.enter_context(_quiet())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _) -> None:
        with self.quiet:
            # what is under way would wait for a host that has gone
            if hosts.lost(error):
                return
            try:
                with self._whole():
                    self.manager.wait_until_finished()
                    self.manager.close()
            except OSError:
                # what ended training comes first
                if kind is None:
                    raise

    def save(self, train_state: TrainState, example: int) -> None:
        """Starts to write the state and what else a run goes on from."""
        step = int(train_state.step)
        tree = _tree(train_state, np.asarray(jax.random.key_data(state.key(self.run, state.STEPS))))
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree),
            data=ocp.args.JsonSave({"example": example}),
            run=ocp.args.JsonSave(to_plain(self.run)),
        )
        with self._whole():
            self.manager.save(step, args=items)

    def check(self) -> None:
        """Refuses to go on where a save that was under way has failed."""
        with self._whole():
            self.manager.check_for_errors()

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # another host has gone, and it is no disk's fault
            if hosts.lost(error):
                raise
            raise disk.told(self.directory, error) from None


def saved(directory: Path, most: int | None = None) -> bool:
    """Whether a directory holds a checkpoint of at most `most` steps, whole or not."""
    if (folder := directory / FOLDER).exists() and not folder.is_dir():
        raise NotADirectoryError(f"{FOLDER} must be a directory, got the file {str(folder)!r}; move it away.")
    if not folder.is_dir():
        return False
    with manager(directory, writes=False) as reader:
        return any(most is None or step <= most for step in reader.all_steps())


def load(directory: Path, run: Run, step: int | None = None, most: int | None = None) -> Restored:
    """What was saved after `step` steps, or the newest that is whole; `run` is the directory's, see `read_run`.

    With `most`, checkpoints of more steps are passed over.

    That a checkpoint was cut off shows only where it is read, so older ones are tried in turn, and that is told.
    """
    if not (directory / FOLDER).is_dir():
        raise FileNotFoundError(f"A run's directory must hold {FOLDER}, got {str(directory)!r}; train it first.")
    with manager(directory, writes=False) as reader:
        steps = sorted((each for each in reader.all_steps() if most is None or each <= most), reverse=True)
        steps = hosts.same(steps)
        if not steps or step is not None and step not in steps:
            asked = "none" if step is None else step
            raise FileNotFoundError(
                f"A step must be one that was saved, of {sorted(steps)}, got {asked}; name one of these."
            )
        held = state.shapes(run)
        key = jax.eval_shape(lambda: jax.random.key_data(state.key(run, state.STEPS)))
        # several hosts read what lies on all of them
        like = _tree(held, jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=held.step.sharding))
        broken = {}
        for number in steps if step is None else [step]:
            why, restored = "", None
            with hosts.together():
                try:
                    _same_run(reader, number, run, directory)
                    restored = _read(reader, number, like)
                except _Broken as error:
                    why = str(error)
            # what one host cannot read is of no use to the others
            if why := next(filter(None, hosts.words(why)), None):
                broken[number] = why
                continue
            for other, why in broken.items() if hosts.first() else ():
                print(
                    f"The checkpoint of step {other} in {str(directory)!r} is not whole ({why}); that of step {number} "
                    f"is read instead.",
                    file=sys.stderr,
                )
            return restored
    raise OSError(
        f"A run's directory must hold a whole checkpoint, got none among the steps {sorted(broken)} of "
        f"{str(directory)!r} ({broken[max(broken)]}); remove its {FOLDER} to begin again with step 1."
    )


def tidy(directory: Path, step: int) -> None:
    """Removes saves that were under way, and sets checkpoints of later steps aside, which could not be read.

    Orbax would not write over the latter, which lie in `unread` then, and removes the former at a moment of its own.
    The lock must be held.
    """
    for path in (directory / FOLDER).glob("*"):
        if not path.is_dir():
            continue
        if path.name.endswith(UNFINISHED):
            shutil.rmtree(path)
        elif path.name.isdigit() and int(path.name) > step:
            (aside := directory / ASIDE).mkdir(exist_ok=True)
            shutil.rmtree(aside / path.name, ignore_errors=True)
            path.rename(aside / path.name)


def weights(directory: Path, like: Variables) -> Variables:
    """The params and buffers that another run has reached, in this process's memory; of the shapes of `like`."""
    if not (directory / FOLDER).is_dir():
        raise FileNotFoundError(f"Run.init_from must name a run's directory with {FOLDER}, got {str(directory)!r}.")
    wanted = {"params": like.params, "buffers": like.buffers}
    with manager(directory, writes=False) as reader:
        for number in sorted(reader.all_steps(), reverse=True):
            with contextlib.suppress(_Broken):
                whole = _restore(reader, number, _unknown(directory, number)).state
                found = {name: whole[name] for name in wanted if name in whole}
                # what that run's objective learned, and what was observed, is no array of the model
                found.get("params", {}).pop(LEARNED, None)
                found.get("buffers", {}).pop(state.OBSERVED, None)
                if told := differs(found, wanted):
                    raise ValueError(
                        f"Run.init_from must name a run of the same model, got {told} in this run; choose that model."
                    )
                # read without a pattern, its numbered keys are words
                arrays = [_named(found)[name] for name in _named(wanted)]
                return Variables(**jax.tree.unflatten(jax.tree.structure(wanted), arrays))
    raise FileNotFoundError(f"Run.init_from must name a run with a whole checkpoint, got {str(directory)!r}; train it.")


def differs(saved: Any, wanted: Any) -> str | None:
    """In words the first array that is not of one name, shape and type in both; None where all are."""
    there, here = _named(saved), _named(wanted)
    for name in [*here, *there]:
        one, two = (
            "none" if (array := arrays.get(name)) is None else f"{array.dtype}{list(array.shape)}"
            for arrays in (there, here)
        )
        if one != two:
            return f"{name} of {one} there and {two}"
    return None


def write_run(directory: Path, run: Run) -> None:
    """Writes run.json, whole or not at all."""
    disk.write(directory / RUN_FILE, run.to_json())


def read_run(directory: Path, resolve: Resolve) -> Run:
    """The run that a directory holds; `resolve(slot, name)` gives a part's class."""
    path = directory / RUN_FILE
    if not path.is_file():
        raise FileNotFoundError(f"A run's directory must hold {RUN_FILE}, got {str(directory)!r}; train it first.")
    return Run.from_json(path.read_text(encoding="utf-8", errors="replace"), resolve)


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): array for path, array in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _tree(train_state: TrainState, key) -> dict:
    return {**train_state._asdict(), "key": key}


class _Broken(Exception):
    """Never leaves this file: a checkpoint that cannot be read."""


def _same_run(reader: ocp.CheckpointManager, step: int, run: Run, directory: Path) -> None:
    """Refuses a run that is not the one whose state was saved; the mesh may be another."""
    args = ocp.args.Composite(run=ocp.args.JsonRestore())
    written, now = _restored(reader, step, args).run, to_plain(run)
    if not agrees({**written, "mesh": now["mesh"]} if isinstance(written, dict) else written, now):
        raise ValueError(
            f"{RUN_FILE} must hold the run as it began, got another in {str(directory)!r} than its checkpoint of step "
            f"{step} holds; put {FOLDER}/{step}/run/metadata in its place."
        )


def _read(reader: ocp.CheckpointManager, step: int, like: dict) -> Restored:
    items = _restore(reader, step, like)
    if not isinstance(items.data, dict) or not isinstance(example := items.data.get("example"), int):
        raise _Broken("its data position is missing")
    return Restored(TrainState(**{name: items.state[name] for name in TrainState._fields}), example)


def _unknown(directory: Path, step: int) -> dict:
    """What to read a state by whose tree is another run's: all of each array, in this process's memory."""
    place = (directory / FOLDER / str(step) / "state").absolute()
    try:
        known = ocp.StandardCheckpointHandler().metadata(place).tree
    except Exception as error:
        raise _Broken(_told(error)) from None
    # a view of one number takes no memory
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), known)


def _restore(reader: ocp.CheckpointManager, step: int, like: dict) -> Any:
    # the devices that an array was saved from may not be at hand
    arrays = ocp.args.StandardRestore(like, fallback_sharding=sharding.alone())
    args = ocp.args.Composite(state=arrays, data=ocp.args.JsonRestore())
    return _restored(reader, step, args)


def _restored(reader: ocp.CheckpointManager, step: int, args: ocp.args.Composite) -> Any:
    try:
        with _quiet():
            return reader.restore(step, args=args)
    except Exception as error:
        raise _Broken(_told(error)) from None


def _told(error: Exception) -> str:
    # the first line, for orbax adds pages
    why = str(error).strip().split("\n", 1)[0].split(". See full", 1)[0].split(" [tensorstore_spec", 1)[0]
    return why or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the words of orbax and asyncio about what fails off the screen, of coroutines that nobody awaits too."""
    loggers, hook = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        gc.collect()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.unraisablehook = hook
