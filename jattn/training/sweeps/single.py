"""Trains one run of a sweep to its result, in this process, from wherever an earlier one left it."""

import json
import time
from pathlib import Path

import filelock

from jattn.training import checkpoint, loop, metrics
from jattn.training.plain import agrees, to_plain
from jattn.training.run import Run
from jattn.training.summary import Summary
from jattn.training.sweeps import results
from jattn.training.sweeps.names import Planned

# held from before the first step until the result is written; the loop's own ends between the two
LOCK = "sweep.lock"
# held by a sweep from before it begins a run until that is over
CLAIM = "claim.lock"
WAIT_SECONDS = 0.5


def trained(planned: Planned) -> None:
    """Begins or goes on with a run and writes its result, also where it diverges.

    Waits for a process that is at it, leaves what is done.
    """
    made(planned.directory)
    made(planned.result.parent)
    with filelock.FileLock(planned.directory / LOCK):
        if results.read(planned.result, planned.run) is not None:
            print(f"{planned.name} is done already", flush=True)
            return
        diverged = None
        try:
            print(_finished(planned), flush=True)
        except FloatingPointError as error:
            # the same steps would give the same numbers again
            diverged = metrics.whole(planned.directory) + 1
            print(error, flush=True)
        results.write(planned.result, results.record(planned.run, planned.directory, diverged))


def made(folder: Path) -> None:
    """Makes a folder, or says that it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{str(folder)!r}: {error.strerror}"
        raise OSError(f"A sweep's directories must be such as can be made, got {why}; name others.") from error


def claimed(planned: Planned) -> filelock.BaseFileLock | None:
    """A claim on a run for the sweep that is to begin it, held until released; None where another process is at it.

    The process that trains takes its own lock only seconds after it was begun, and keeps it where its sweep is killed.
    """
    made(planned.directory)
    claim, lock = (filelock.FileLock(planned.directory / name, timeout=0) for name in (CLAIM, LOCK))
    try:
        claim.acquire()
    except filelock.Timeout:
        return None
    try:
        lock.acquire()
    except filelock.Timeout:
        claim.release()
        return None
    lock.release()
    return claim


def _finished(planned: Planned) -> Summary:
    run, directory = planned.run, planned.directory
    while True:
        try:
            if not (file := directory / checkpoint.RUN_FILE).is_file():
                return loop.fit(run, directory)
            if not _holds(file, run):
                raise ValueError(
                    f"A sweep goes on with its own runs, got another run in {str(directory)!r}; move that directory."
                )
            return loop.resume(run, directory)
        except BlockingIOError:
            # one that no sweep began, as by jattn train --resume
            print(f"waits for the process that trains in {directory}", flush=True)
            time.sleep(WAIT_SECONDS)


def _holds(file: Path, run: Run) -> bool:
    try:
        return agrees(json.loads(file.read_bytes()), to_plain(run))
    except ValueError:
        return False
