"""Saves the state of a run under its directory and reads it back."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from jattn.training import state
from jattn.training.plain import Resolve, to_plain
from jattn.training.run import Run
from jattn.training.state import TrainState

FOLDER = "checkpoints"
RUN_FILE = "run.json"
ITEMS = ("state", "run")


def manager(directory: Path) -> ocp.CheckpointManager:
    """Orbax's manager of a run's checkpoints; it writes while training goes on and keeps the latest two."""
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
    # orbax takes no relative path
    return ocp.CheckpointManager((directory / FOLDER).absolute(), item_names=ITEMS, options=options)


def _tree(train_state: TrainState, key) -> dict:
    return {**train_state._asdict(), "key": key}


def save(saver: ocp.CheckpointManager, run: Run, train_state: TrainState) -> None:
    """Starts to write the state, the key of its steps and the run as they are now."""
    tree = _tree(train_state, jax.random.key_data(state.key(run, state.STEPS)))
    items = ocp.args.Composite(state=ocp.args.StandardSave(tree), run=ocp.args.JsonSave(to_plain(run)))
    saver.save(int(train_state.step), args=items)


def load(directory: Path, run: Run, step: int | None = None) -> TrainState:
    """The state after `step` steps, or the latest one saved; `run` is the directory's, see `read_run`."""
    if not (directory / FOLDER).is_dir():
        raise FileNotFoundError(f"A run's directory must hold {FOLDER}, got {str(directory)!r}; train it first.")
    with manager(directory) as saver:
        steps = sorted(saver.all_steps())
        chosen = steps[-1] if step is None and steps else step
        if chosen not in steps:
            raise FileNotFoundError(f"A step must be one that was saved, of {steps}, got {chosen}; name one of these.")
        like = jax.eval_shape(
            lambda: _tree(state.fresh(run), jax.random.key_data(state.key(run, state.STEPS)))
        )
        restored = saver.restore(chosen, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
    return TrainState(**{name: restored[name] for name in TrainState._fields})


def read_run(directory: Path, resolve: Resolve) -> Run:
    """The run that a directory holds; `resolve(slot, name)` gives a part's class."""
    path = directory / RUN_FILE
    if not path.is_file():
        raise FileNotFoundError(f"A run's directory must hold {RUN_FILE}, got {str(directory)!r}; train it first.")
    return Run.from_json(path.read_text(encoding="utf-8"), resolve)
