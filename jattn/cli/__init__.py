"""The command line: train, eval, sample, plot, catalogue."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jattn import catalogue, extras

# where runs go that name no directory
RUNS = Path("runs")
# what makes a directory one of a run
RUN_FILE = "run.json"


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a decoder, by default a small one on Shakespeare, and prints what it reached."""

    dir: str | None = None
    preset: str | None = None
    text: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measures the loss of a checkpoint on held-out text, in nats per byte."""

    dir: str | None = None
    text: tuple[str, ...] = ()
    steps: int | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """Writes text that goes on from a prompt."""

    dir: str | None = None
    prompt: str = "\n"
    count: int = 500
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self):
        if not self.prompt:
            raise ValueError("--prompt must hold at least one byte, got ''; leave it out to begin a line.")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}; give a small whole number.")
        if self.count < 1:
            raise ValueError(f"--count must be at least 1, got {self.count}; give the number of bytes to write.")


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draws the pictures of a run again from its metrics."""

    dir: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 where training failed, or 2 with one sentence on stderr where the input is bad."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _command(argv)
    except FloatingPointError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("Stopped; what was written until then is kept.", 130)
    except ModuleNotFoundError as error:
        if told := extras.sentence("This command", error):
            return _fail(told, 2)
        raise
    except (ValueError, TypeError, OSError) as error:
        if _ours(error):
            return _fail(str(error), 2)
        raise


def _command(argv: list[str]) -> int:
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        print("usage: jattn COMMAND [--option value ...]; jattn COMMAND --help lists the options.\n")
        for command, (kind, _) in COMMANDS.items():
            print(f"  {command:<10} {kind.__doc__.splitlines()[0]}")
        print("  catalogue  Lists every part, or those whose name, text or arXiv number hold a WORD.")
        return 0 if argv else 2
    if name == "catalogue":
        return _catalogue(rest)
    if name not in COMMANDS:
        near = catalogue.nearest(name, [*COMMANDS, "catalogue"])
        raise ValueError(f"jattn has no command {name!r}; {near or 'it has ' + ', '.join([*COMMANDS, 'catalogue'])}.")
    kind, run = COMMANDS[name]
    asks = "--help" in rest or "-h" in rest
    from jattn.cli import options

    found = options.given([word for word in rest if word not in ("--help", "-h")])
    return run(kind(), found, asks)


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


def _train(held: Train, found: dict, asks: bool) -> int:
    from jattn.cli import options
    from jattn.training import loop, memory
    from jattn.training.presets import preset

    # before XLA's threads begin, which keep the settings they find
    memory.keep_freed()
    if "smoke" in found:
        if found.pop("smoke"):
            raise ValueError("--smoke takes no value; write --steps N for the length of a run.")
        found["preset"] = ["smoke"]
    own = {field.name for field in dataclasses.fields(held)}
    command = options.build(held, {name: words for name, words in found.items() if name in own})
    fields = {name: words for name, words in found.items() if name not in own}
    if command.text:
        fields |= {"source": ["text"], "source.files": list(command.text)}
    run = options.build(preset(command.preset or "default"), fields)
    if asks:
        print(options.page("train", held.__doc__, (command, run)), end="")
        return 0
    options.refuse_unknown(found, (command, run), "train")
    print(loop.fit(run, Path(command.dir) if command.dir else _place()))
    return 0


def _eval(held: Eval, found: dict, asks: bool) -> int:
    if (command := _built(held, found, asks, "eval")) is None:
        return 0
    directory = _directory(command.dir)
    from jattn.training import evaluate
    from jattn.training.sources import text
    from jattn.training.windows import Sliding

    run, variables = _trained(directory, command.steps)
    if command.text:
        whole = text.read(command.text)
        if len(whole) <= run.context:
            raise ValueError(f"--text must hold more bytes than the context {run.context}, got {len(whole)}; add text.")
        examples = Sliding(whole, run.context)
    else:
        examples = run.source.held_out(run.context)
    size = evaluate.batch_size(run, examples)
    loss = evaluate.loss_on(evaluate.scorer(run), variables, examples, range(len(examples)), size)
    print(f"{loss:.4f} nats per byte on {', '.join(command.text) or 'the held-out text'}")
    return 0


def _sample(held: Sample, found: dict, asks: bool) -> int:
    if (command := _built(held, found, asks, "sample")) is None:
        return 0
    directory = _directory(command.dir)
    import jax
    import numpy as np
    from flax import nnx

    from jattn.models.sampling import generate, within
    from jattn.training import state

    run, variables = _trained(directory, None)
    model = state.decoder(dataclasses.replace(run, model=within(run.model, run.context)))
    nnx.update(model, variables.params, variables.buffers)
    # in bytes, as the command line gave them
    prompt = np.frombuffer(os.fsencode(command.prompt), np.uint8).astype(np.int32)
    tokens = generate(
        model,
        prompt[None],
        count=command.count,
        rng=jax.random.key(command.seed),
        temperature=command.temperature,
        top_k=command.top_k,
        top_p=command.top_p,
    )
    print(bytes(np.asarray(tokens[0], np.uint8)).decode(errors="replace"))
    return 0


def _plot(held: Plot, found: dict, asks: bool) -> int:
    if (command := _built(held, found, asks, "plot")) is None:
        return 0
    directory = _directory(command.dir)
    from jattn.training import checkpoint, metrics, plots

    run = checkpoint.read_run(directory, catalogue.find)
    for path in plots.draw(metrics.read(directory), directory, run.context):
        print(path)
    return 0


def _built(held: Any, found: dict, asks: bool, name: str) -> Any:
    """The command with its options, or None where its help was asked for and shown."""
    from jattn.cli import options

    if asks:
        print(options.page(name, held.__doc__, (held,)), end="")
        return None
    options.refuse_unknown(found, (held,), name)
    return options.build(held, found)


def _place() -> Path:
    """The first number under `runs` that no run has."""
    number = 1
    while (RUNS / str(number)).exists():
        number += 1
    return RUNS / str(number)


def _directory(named: str | None) -> Path:
    """The directory named, or the run under `runs` that was written to last."""
    if named is not None:
        if not (Path(named) / RUN_FILE).is_file():
            raise FileNotFoundError(f"--dir must hold {RUN_FILE}, got {named!r}; name a run's directory.")
        return Path(named)
    runs = sorted(RUNS.glob(f"*/{RUN_FILE}"), key=lambda file: file.stat().st_mtime)
    if not runs:
        raise FileNotFoundError(f"Without --dir the last run in {RUNS}/ is meant, got none; train first: jattn train.")
    return runs[-1].parent


def _trained(directory: Path, steps: int | None) -> tuple[Any, Any]:
    """A directory's run, and the arrays it had after so many steps, or last."""
    from jattn.part import Variables
    from jattn.training import checkpoint

    run = checkpoint.read_run(directory, catalogue.find)
    reached = checkpoint.load(directory, run, steps)
    return run, Variables(reached.params, reached.buffers)


COMMANDS: dict[str, tuple[type, Callable[[Any, dict, bool], int]]] = {
    "train": (Train, _train),
    "eval": (Eval, _eval),
    "sample": (Sample, _sample),
    "plot": (Plot, _plot),
}


def _fail(sentence: str, code: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


def _ours(error: Exception) -> bool:
    """Whether a file of this package raised it, in a sentence; any other is a defect and keeps its trace."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).is_relative_to(catalogue.ROOT)
