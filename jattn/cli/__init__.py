"""The command line: a file a command, and what all of them answer bad input with."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jattn import catalogue, extras
from jattn.cli import bench, convert, cost, evaluate, guard, plan, plot, sample, sweep, train

COMMANDS: dict[str, tuple[type, Callable[[Any, dict, bool], int]]] = {
    "train": (train.Train, train.command),
    "eval": (evaluate.Eval, evaluate.command),
    "convert": (convert.Convert, convert.command),
    "sample": (sample.Sample, sample.command),
    "plot": (plot.Plot, plot.command),
    "plan": (plan.Plan, plan.command),
    "cost": (cost.Cost, cost.command),
    "bench": (bench.Bench, bench.command),
    "sweep": (sweep.Sweep, sweep.command),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 where training failed, or 2 with one sentence on stderr where the input is bad."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _command(argv)
    except FloatingPointError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "Stopped; what was written until then is kept.", 130)
    except ModuleNotFoundError as error:
        if told := extras.sentence("This command", error):
            return _fail(told, 2)
        raise
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        if _ours(error):
            return _fail(str(error), 2)
        raise


def _command(argv: list[str]) -> int:
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        print("usage: jattn COMMAND [--option value ...]; jattn COMMAND --help lists the options.\n")
        for each, (kind, _) in COMMANDS.items():
            print(f"  {each:<10} {kind.__doc__.splitlines()[0]}")
        print("  catalogue  Lists every part, or those whose name, text or arXiv number hold a WORD.")
        return 0 if argv else 2
    if name == "catalogue":
        return _catalogue(rest)
    if name not in COMMANDS:
        near = catalogue.nearest(name, [*COMMANDS, "catalogue"])
        raise ValueError(f"jattn has no command {name!r}; {near or 'it has ' + ', '.join([*COMMANDS, 'catalogue'])}.")
    kind, command = COMMANDS[name]
    asks = "--help" in rest or "-h" in rest
    if name == "train" and not asks and guard.needed(rest):
        return guard.kept(argv)
    # a command may have an option whose name is left out where its value comes first
    if rest and not rest[0].startswith("-") and (first := getattr(kind, "FIRST", None)):
        rest = [f"--{first}", *rest]
    from jattn.cli import options

    found = options.given([word for word in rest if word not in ("--help", "-h")])
    return command(kind(), found, asks)


def _catalogue(words: list[str]) -> int:
    if words and words[0] in ("-h", "--help"):
        print("usage: jattn catalogue [WORD]; WORD is looked for in names, descriptions and sources.")
        return 0
    if any(word.startswith("-") for word in words):
        raise ValueError(f"jattn catalogue takes words, no options, got {' '.join(words)!r}; try 'window'.")
    word = " ".join(words) or None
    if not (table := catalogue.table(word)):
        near = catalogue.nearest(word or "", [catalogue.snake(entry.name) for entry in catalogue.entries()])
        raise ValueError(f"Nothing in the catalogue holds {word!r}; {near or 'jattn catalogue lists everything'}.")
    print(table)
    return 0


def _fail(sentence: str, code: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


def _ours(error: Exception) -> bool:
    """Whether a file of this package raised it, in a sentence; any other is a defect and keeps its trace."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).is_relative_to(catalogue.ROOT)
