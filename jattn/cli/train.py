"""`jattn train`."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from jattn import catalogue
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Hosts that train one run together, each by the same command.

    `coordinator` is HOST:PORT of host 0, or auto on a TPU pod and in Slurm, which know the hosts; `count` is how many
    there are, and `number` which of them this is, from 0.
    """

    coordinator: str | None = None
    count: int | None = None
    number: int | None = None

    def __post_init__(self):
        given = f"{self.coordinator!r}, {self.count} and {self.number}"
        if self.coordinator in (None, "auto"):
            if not self.count is self.number is None:
                raise ValueError(
                    f"--hosts.count and --hosts.number go with an address, got {given}; add --hosts.coordinator "
                    f"HOST:PORT, or leave both out."
                )
            return
        name, _, port = self.coordinator.rpartition(":")
        if not name or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(
                f"--hosts.coordinator takes HOST:PORT of host 0, or auto, got {self.coordinator!r}; any free port "
                f"serves, as in 10.0.0.1:1234."
            )
        if self.count is None or self.number is None or not 0 <= self.number < self.count:
            raise ValueError(
                f"--hosts.coordinator HOST:PORT goes with --hosts.count and a --hosts.number from 0 to below it, got "
                f"{given}; give all three."
            )


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a model, by default a small decoder on Shakespeare, and prints what it reached."""

    dir: str | None = None
    resume: str | None = None
    preset: str | None = None
    text: tuple[str, ...] = ()
    dataset: str | None = None
    data_dir: str | None = None
    workers: int = 0
    tensorboard: str | None = None
    hosts: Hosts = Hosts()

    def __post_init__(self):
        if self.workers < 0:
            raise ValueError(f"--workers must be at least 0, got {self.workers}; 0 reads without threads of its own.")
        if self.resume is not None and self.dir is not None:
            raise ValueError(f"--resume names the directory itself, got --dir {self.dir} too; leave --dir out.")
        if self.text and self.dataset:
            raise ValueError(f"A run trains on --text or on --dataset, got both, {self.dataset!r}; leave one out.")
        if self.hosts.coordinator and not self.dir and not self.resume:
            raise ValueError("Hosts write into one directory that all of them see, got none; name it with --dir.")
        if self.data_dir and not self.dataset:
            raise ValueError(f"--data-dir says where --dataset lies, got {self.data_dir!r} alone; add --dataset NAME.")


def command(held: Train, found: dict, asks: bool) -> int:
    """Trains as the options say and prints what it reached."""
    from jattn.cli import options
    from jattn.training import hosts, loop, memory

    # before XLA's threads begin, which keep the settings they find
    memory.keep_freed()
    if options.bare(found, "smoke"):
        found["preset"] = ["smoke"]
    own = {field.name for field in dataclasses.fields(held)}
    chosen = options.build(held, {name: words for name, words in found.items() if name.partition(".")[0] in own})
    fields = {name: words for name, words in found.items() if name.partition(".")[0] not in own}
    if chosen.dataset:
        place = os.path.abspath(chosen.dataset) if os.path.isdir(chosen.dataset) else chosen.dataset
        fields |= {"source": ["dataset"], "source.dataset": [place]}
        if chosen.data_dir:
            fields |= {"source.data_dir": [os.path.abspath(chosen.data_dir)]}
    # whole paths: a run may be gone on with from another directory
    if chosen.text:
        fields |= {"source": ["text"], "source.files": [os.path.abspath(word) for word in chosen.text]}
    if "init_from" in fields:
        fields["init_from"] = [os.path.abspath(word) for word in fields["init_from"]]
    run = _run(chosen, fields)
    if asks:
        print(options.page("train", held.__doc__, (chosen, run)), end="")
        return 0
    options.refuse_unknown(found, (chosen, run), "train")
    if chosen.hosts.coordinator:
        hosts.begin(chosen.hosts.coordinator, chosen.hosts.count, chosen.hosts.number)
    events = Path(chosen.tensorboard) if chosen.tensorboard else None
    go, place = (loop.fit, chosen.dir or runs.place()) if chosen.resume is None else (loop.resume, chosen.resume)
    with hosts.watched(Path(place)):
        summary = go(run, Path(place), workers=chosen.workers, events=events)
        if hosts.first():
            print(summary)
        hosts.end()
    return 0


def _run(chosen: Train, fields: dict) -> Any:
    """The run that the options describe: a new one, or one that is gone on with, of which they may change the mesh."""
    from jattn.cli import options
    from jattn.training import checkpoint
    from jattn.training.presets import preset

    if chosen.resume is None:
        return options.build(preset(chosen.preset or "default"), fields)
    begun = checkpoint.read_run(Path(chosen.resume), catalogue.find)
    asked = options.build(preset(chosen.preset) if chosen.preset else begun, fields)
    was, now = ([(f.name, options.shown(f.value)) for f in options.fields(run)] for run in (begun, asked))
    for (one, before), (other, after) in zip(was, now, strict=False):
        if (one, before) != (other, after) and one.partition(".")[0] != "mesh":
            raise ValueError(
                f"--resume goes on with a run as it began, got {options.flag(other)} {after} where "
                f"{options.flag(one)} is {before} in {chosen.resume!r}; leave it out, or begin anew with --init-from."
            )
    return dataclasses.replace(begun, mesh=asked.mesh)
