"""`jattn train`."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from jattn import catalogue
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a decoder, by default a small one on Shakespeare, and prints what it reached."""

    dir: str | None = None
    resume: str | None = None
    preset: str | None = None
    text: tuple[str, ...] = ()
    dataset: str | None = None
    data_dir: str | None = None
    workers: int = 0
    tensorboard: str | None = None
    coordinator: str | None = None
    hosts: int | None = None
    host: int | None = None

    def __post_init__(self):
        if self.workers < 0:
            raise ValueError(f"--workers must be at least 0, got {self.workers}; 0 reads without threads of its own.")
        if self.resume is not None and self.dir is not None:
            raise ValueError(f"--resume names the directory itself, got --dir {self.dir} too; leave --dir out.")
        if self.text and self.dataset:
            raise ValueError(f"A run trains on --text or on --dataset, got both, {self.dataset!r}; leave one out.")
        if (self.hosts is None) != (self.host is None) or bool(self.hosts) != (self.coordinator not in (None, "auto")):
            raise ValueError(
                f"Hosts take --coordinator HOST:PORT --hosts COUNT --host NUMBER, or --coordinator auto alone, got "
                f"{self.coordinator!r}, {self.hosts} and {self.host}; give all three."
            )
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
    chosen = options.build(held, {name: words for name, words in found.items() if name in own})
    fields = {name: words for name, words in found.items() if name not in own}
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
    if chosen.coordinator and not asks:
        hosts.begin(chosen.coordinator, chosen.hosts, chosen.host)
    run = _run(chosen, fields)
    if asks:
        print(options.page("train", held.__doc__, (chosen, run)), end="")
        return 0
    options.refuse_unknown(found, (chosen, run), "train")
    events = Path(chosen.tensorboard) if chosen.tensorboard else None
    if chosen.resume is None:
        summary = loop.fit(run, Path(chosen.dir or runs.place()), workers=chosen.workers, events=events)
    else:
        summary = loop.resume(run, Path(chosen.resume), workers=chosen.workers, events=events)
    if hosts.first():
        print(summary)
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
