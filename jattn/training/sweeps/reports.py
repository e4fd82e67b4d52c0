"""Turns the results of a sweep into a verdict by rules, tables and a picture, and renews an experiment's page."""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jattn.training.sweeps import listed, names, results, short

PICTURE = "report.png"
# the part of README.md that a report writes lies between these
BEGIN, END = "<!-- report -->", "<!-- end of report -->"
WORDS = {True: "held", False: "**not held**", None: "open"}


class Verdict(NamedTuple):
    """Whether a rule held, None where figures are missing; and the figures that say so."""

    held: bool | None
    figures: str


class Found(NamedTuple):
    """The result of each of the RUNS, None where there is none yet, and the folder that holds them."""

    held: list[dict[str, Any] | None]
    home: Path

    @property
    def missing(self) -> int:
        """How many of the runs have no result."""
        return sum(each is None for each in self.held)


# of what a report is about, `Found` or what an experiment's own `load` gives
Text = Callable[[Any], str]
Picture = Callable[[Any], Figure]
Load = Callable[[Path, Path, Path | None], Any]


def load(folder: Path, home: Path, smoke: Path | None = None) -> Found:
    """The results in `home` of the RUNS of an experiment's folder; under `smoke` those of shortened ones."""
    plans = names.planned(listed.runs(folder / "run.py"), smoke or folder, home)
    if smoke is not None:
        plans = [planned._replace(run=short.shortened(planned.run)) for planned in plans]
    return Found([results.read(planned.result, planned.run) for planned in plans], home)


def loss(held: Mapping[str, Any]) -> float:
    """The held-out loss of a result, in nats; infinite where the run diverged."""
    return math.inf if "diverged" in held["reached"] else held["reached"]["heldout_loss"]


def accuracy(held: Mapping[str, Any]) -> float:
    """The share of held-out examples that a result is right on; 0 where the run diverged."""
    return 0.0 if "diverged" in held["reached"] else held["reached"].get("heldout_accuracy", 0.0)


def sentence(verdicts: Mapping[str, Verdict], missing: int = 0) -> str:
    """The verdict: upheld where every rule held; none while a run is missing or a rule is open."""
    failed, unknown = ([name for name, each in verdicts.items() if each.held is was] for was in (False, None))
    if missing:
        return f"Not yet decided: {missing} runs are missing."
    if unknown:
        return f"Not yet decided: {'; '.join(unknown)}."
    return f"Not upheld here: {'; '.join(failed)}." if failed else "The claim is upheld here."


def judged(verdicts: Mapping[str, Verdict], missing: int = 0) -> list[str]:
    """The verdict and a table of the rules, as lines of Markdown."""
    lines = [f"**{sentence(verdicts, missing)}**", "", *row("rule", "", "figures", head="head")]
    return lines + [line for name, (held, told) in verdicts.items() for line in row(name, WORDS[held], told)]


def row(*cells: str, head: str = "") -> list[str]:
    """A row of a table in Markdown; with any `head` the line below its head too."""
    line = f"| {' | '.join(cells)} |"
    return [line, f"|{'---|' * len(cells)}"] if head else [line]


def machines(held: Iterable[dict[str, Any] | None]) -> list[str]:
    """Machine and versions of the results, each once, as a list in Markdown."""
    told = {", ".join(f"{k} {v}" for k, v in (each["machine"] | each["versions"]).items()): 0 for each in held if each}
    return [f"- {line}" for line in told]


def main(words: list[str], folder: Path, text: Text, picture: Picture, load: Load = load) -> int:
    """Prints what `text` says, and renews picture and README.md; of the runs of --smoke it only draws beside them.

    `measures.load` reads what was measured without training.
    """
    parser = argparse.ArgumentParser(description=f"Reports on {folder.name}: its results as verdict, tables, picture.")
    parser.add_argument("--smoke", action="store_true", help="reports on what --smoke of the others left")
    smoke = Path("runs") / folder.name / "smoke" if parser.parse_args(words).smoke else None
    found = load(folder, (smoke or folder) / "results", smoke)
    told = text(found)
    if smoke is not None:
        print("Of a few steps, which the rules are not about; it shows only that everything runs.\n")
    print(told)
    (smoke or folder).mkdir(parents=True, exist_ok=True)
    picture(found).savefig((smoke or folder) / PICTURE, dpi=100)
    if smoke is None:
        page = folder / "README.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0
