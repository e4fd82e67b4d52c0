"""What the commands share: which directory is meant, and the options of a command."""

import dataclasses
from pathlib import Path
from typing import Any

from jattn import catalogue

# where runs go that name no directory
RUNS = Path("runs")
# what makes a directory one of a run
RUN_FILE = "run.json"


def built(held: Any, found: dict, asks: bool, name: str) -> Any:
    """The command with its options, or None where its help was asked for and shown."""
    from jattn.cli import options

    if asks:
        print(options.page(name, held.__doc__, (held,)), end="")
        return None
    options.refuse_unknown(found, (held,), name)
    return options.build(held, found)


def place() -> Path:
    """The first number under `runs` that no run has."""
    number = 1
    while (RUNS / str(number)).exists():
        number += 1
    return RUNS / str(number)


def directory(named: str | None) -> Path:
    """The directory named, or the run under `runs` that was written to last."""
    if named is not None:
        if not (Path(named) / RUN_FILE).is_file():
            raise FileNotFoundError(f"--dir must hold {RUN_FILE}, got {named!r}; name a run's directory.")
        return Path(named)
    runs = sorted(RUNS.glob(f"*/{RUN_FILE}"), key=lambda file: file.stat().st_mtime)
    if not runs:
        raise FileNotFoundError(f"Without --dir the last run in {RUNS}/ is meant, got none; train first: jattn train.")
    return runs[-1].parent


def check_bytes(run: Any, command: str) -> None:
    """Refuses a run whose tokens are no bytes, for a command that reads or writes text."""
    if run.source.unit != "byte":
        rule = f"{command} needs a run on bytes, a vocabulary of 256"
        got = run.source.vocabulary if run.source.unit == "token" else f"{run.source.unit}s"
        raise ValueError(f"{rule}, got {got}; jattn eval without --text measures this run.")


def trained(home: Path, steps: int | None) -> tuple[Any, Any]:
    """A directory's run, and the arrays it had after so many steps, or last."""
    from jattn.part import Variables
    from jattn.training import checkpoint, state
    from jattn.training.sharding import Mesh

    # on one device, whatever trained it
    run = dataclasses.replace(checkpoint.read_run(home, catalogue.find), mesh=Mesh(data=1))
    reached = checkpoint.load(home, run, steps).state
    return run, state.of_model(Variables(reached.params, reached.buffers))


def check_writable(option: str, file: Path) -> None:
    """Refuses a file that cannot be written, before the work that is to go into it."""
    try:
        file.open("a").close()
    except OSError as error:
        raise OSError(
            f"{option} must name a file that can be written, got {str(file)!r}: {error.strerror}; name another."
        ) from None
