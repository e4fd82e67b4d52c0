"""Takes a list of runs to their results, each once, however often it is stopped or killed on the way."""

import contextlib
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import BaseFileLock

from jattn.training.run import Run
from jattn.training.stopping import Stopping
from jattn.training.sweeps import children, names, results, single
from jattn.training.sweeps.names import Planned
from jattn.training.sweeps.table import table

POLL_SECONDS = 0.1

Begin = Callable[[Planned], "Here | subprocess.Popen"]


class Swept(NamedTuple):
    """What a sweep came to: its runs, and the last words of those that failed, by their place; its text is a table."""

    plans: list[Planned]
    failed: dict[int, str]

    @property
    def results(self) -> list[dict | None]:
        """What each run reached, None where it failed; see `results.record`."""
        return [results.read(planned.result, planned.run) for planned in self.plans]

    def __str__(self) -> str:
        return table(self.plans, self.failed)


def sweep(runs: Sequence[Run], directory: Path, results: Path) -> Swept:
    """Trains every run that has no result yet, one after another in this process; the same call goes on after a stop.

    Runs train in directories under `directory`, their words in `log.txt` there, and leave one file each in `results`.
    """
    return carried_out(names.planned(runs, directory, results), Here)


def carried_out(plans: Sequence[Planned], begin: Begin, jobs: int | None = None) -> Swept:
    """Begins what is neither done nor in use elsewhere, and tells of each in a line.

    `jobs` is how many processes `begin` may have begun at a time; None where it begins none and runs are over at once.
    """
    for folder in dict.fromkeys(place.parent for planned in plans for place in (planned.directory, planned.result)):
        single.made(folder)
    done = sum(_done(planned) for planned in plans)
    if 0 < done < len(plans):
        print(f"{table(plans, {})}\n\n{done} of {len(plans)} runs are done.", flush=True)
    # a run in this process is asked by itself
    stops = contextlib.nullcontext(Stopping()) if jobs is None else Stopping("Stopping; each run saves first.")
    with stops as stopping:
        sweeping = _Sweeping(plans, begin, jobs or 1)
        try:
            while sweeping.goes_on() and not stopping.asked:
                time.sleep(POLL_SECONDS)
            sweeping.stop()
        except KeyboardInterrupt:
            stopping.asked = True
        finally:
            sweeping.kill()
    if stopping.asked:
        done = sum(_done(planned) for planned in plans)
        raise KeyboardInterrupt(
            f"Stopped with {done} of {len(plans)} runs done, the others saved; the same command goes on."
        )
    return Swept(list(plans), sweeping.failed)


class Here:
    """A run in this process, which is over when it has begun; like a process it has an exit code."""

    def __init__(self, planned: Planned):
        self.returncode = 0
        single.made(planned.directory)
        with (
            (planned.directory / children.LOG).open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            try:
                single.trained(planned)
            except Exception as error:
                traceback.print_exc()
                print(" ".join(str(error).split()) or type(error).__name__, flush=True)
                self.returncode = 1

    def poll(self) -> int:
        """Its exit code."""
        return self.returncode


class _Sweeping:
    """Which runs wait, which go on and since when, and which failed."""

    def __init__(self, plans: Sequence[Planned], begin: Begin, jobs: int):
        self.begin, self.jobs = begin, jobs
        self.waiting = [planned for planned in plans if not _done(planned)]
        self.running: dict[int, tuple[Planned, Here | subprocess.Popen, float]] = {}
        self.claims: dict[int, BaseFileLock] = {}
        self.failed: dict[int, str] = {}

    def goes_on(self) -> bool:
        """Begins what may begin, looks after what has ended, and tells whether anything is left."""
        while len(self.running) < self.jobs and (planned := self._free()):
            self._tell("started", planned)
            began = time.perf_counter()
            try:
                self.running[planned.index] = planned, self.begin(planned), began
            except OSError as error:
                self._failed(planned, str(error))
        for planned, process, began in list(self.running.values()):
            if (code := process.poll()) is not None:
                del self.running[planned.index]
                self._ended(planned, code, time.perf_counter() - began)
        return bool(self.waiting or self.running)

    def stop(self) -> None:
        """Asks what goes on to save and end, and waits for it."""
        processes = [process for _, process, _ in self.running.values()]
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        self.running = {}

    def kill(self) -> None:
        """Ends what still goes on, at once."""
        for _, process, _ in self.running.values():
            process.kill()
            process.wait()

    def _free(self) -> Planned | None:
        """The next run to begin: what another process has finished is passed over, what it is at comes later."""
        for planned in list(self.waiting):
            try:
                claim = single.claimed(planned)
            except OSError as error:
                self.waiting.remove(planned)
                self._failed(planned, str(error))
                continue
            if claim is None:
                continue
            self.waiting.remove(planned)
            self.claims[planned.index] = claim
            if not _done(planned):
                return planned
            self._release(planned)
            self._tell("done", planned, ": by another process")
        return None

    def _ended(self, planned: Planned, code: int, seconds: float) -> None:
        self._release(planned)
        held = results.read(planned.result, planned.run)
        if code == 0 and held:
            reached = held["reached"]
            if "diverged" in reached:
                self._tell("diverged", planned, f": no finite loss at step {reached['diverged']}, {seconds:.0f} s")
            else:
                self._tell("done", planned, f": held-out loss {reached['heldout_loss']:.4f}, {seconds:.0f} s")
        else:
            self._failed(planned, children.why(planned, code))

    def _failed(self, planned: Planned, why: str) -> None:
        self._release(planned)
        self.failed[planned.index] = why
        self._tell("failed", planned, f": {why}")

    def _release(self, planned: Planned) -> None:
        if claim := self.claims.pop(planned.index, None):
            claim.release()

    def _tell(self, what: str, planned: Planned, more: str = "") -> None:
        print(f"{what:<8} run {planned.index:<3} {planned.name}{more}", flush=True)


def _done(planned: Planned) -> bool:
    return results.read(planned.result, planned.run) is not None
