"""`jattn sweep`."""

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jattn.cli import runs

if TYPE_CHECKING:
    from subprocess import Popen

    from jattn.training.run import Run
    from jattn.training.sweeps.names import Planned
    from jattn.training.sweeps.sweep import Swept


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Trains every run of the list RUNS that a Python FILE builds, each once, and prints a table.

    jattn sweep FILE: runs train under --dir, results lie in --results as small JSON; the same command goes on after a
    stop. --index N trains that one alone, --slurm prints a script instead, --smoke trains all of them for seconds.
    """

    FIRST: ClassVar[str] = "file"

    file: str | None = None
    jobs: int = 1
    dir: str | None = None
    results: str | None = None
    index: int | None = None

    def __post_init__(self):
        if self.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {self.jobs}; 1 trains one run after another.")


def command(held: Sweep, found: dict, asks: bool) -> int:
    """Sweeps as the options say; 1 where a run failed."""
    from jattn.training.sweeps import ties

    # before anything that takes time
    meant = ties.tie()
    from jattn.cli import options

    needless = [name for name in ("results", "jobs") if name in found and "smoke" in found]
    if needless:
        raise ValueError(
            f"--smoke trains in this process and keeps its results under --dir, got --{needless[0]} too; leave it out."
        )
    smoke, prints = (options.bare(found, name) for name in ("smoke", "slurm"))
    if (chosen := runs.built(held, found, asks, "sweep")) is None:
        return 0
    if chosen.file is None:
        raise ValueError("jattn sweep takes a Python file that builds RUNS, got none; write jattn sweep FILE.")
    from jattn.training import memory
    from jattn.training.sweeps import listed, slurm

    # before XLA's threads begin, which keep the settings they find
    memory.keep_freed()
    file = Path(chosen.file)
    listing = listed.runs(file)
    if chosen.index is not None and not 0 <= chosen.index < len(listing):
        raise ValueError(f"--index must lie between 0 and {len(listing) - 1}, got {chosen.index}; RUNS begins with 0.")
    if prints:
        given = [word for name in ("dir", "results") if name in found for word in (f"--{name}", *found[name])]
        words = ["jattn", "sweep", chosen.file, *given, *(["--smoke"] if smoke else [])]
        print(slurm.script(words, _name(file), len(listing), chosen.jobs if "jobs" in found else None), end="")
        return 0
    return _smoke(chosen, listing) if smoke else _whole(chosen, listing, meant)


def _whole(chosen: Sweep, listing: list["Run"], meant: str | None) -> int:
    from jattn.training.sweeps import children, names, single, sweep

    home, results = _home(chosen), Path(chosen.results or Path(chosen.file).parent / "results")
    plans = names.planned(listing, home, results)
    if meant is not None and plans[chosen.index].name[-names.DIGITS :] != meant[-names.DIGITS :]:
        raise ValueError(f"A sweep's file must stay as it is, got another RUNS[{chosen.index}]; begin the sweep again.")
    again = [sys.executable, "-m", "jattn", "sweep", chosen.file, "--dir", str(home), "--results", str(results)]
    if chosen.index is not None:
        single.trained(plans[chosen.index])
        return 0

    def begin(planned: "Planned") -> "Popen":
        return children.begun(planned, [*again, "--index", str(planned.index)])

    return _told(sweep.carried_out(plans, begin, chosen.jobs))


def _smoke(chosen: Sweep, listing: list["Run"]) -> int:
    from jattn.training.sweeps import names, short, sweep

    # apart from the true runs, under the true names
    home = _home(chosen) / "smoke"
    plans = [
        planned._replace(run=short.shortened(planned.run))
        for planned in names.planned(listing, home, home / "results")
        if chosen.index in (None, planned.index)
    ]
    for planned in plans:
        shutil.rmtree(planned.directory, ignore_errors=True)
        planned.result.unlink(missing_ok=True)
    with short.compiled_fast():
        return _told(sweep.carried_out(plans, short.Once()))


def _told(swept: "Swept") -> int:
    print(f"\n{swept}")
    return 1 if swept.failed else 0


def _home(chosen: Sweep) -> Path:
    return Path(chosen.dir) if chosen.dir else runs.RUNS / _name(Path(chosen.file))


def _name(file: Path) -> str:
    """The file's, or its folder's where every folder has one of that name."""
    return file.resolve().parent.name if file.stem == "run" else file.stem
