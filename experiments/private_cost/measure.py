"""Measures what is no training run: bytes and messages of operations, blocks and trained decoders on secret shares.

python experiments/private_cost/measure.py [PART ...] [--smoke] [--python PATH]: all parts or those named, each into its
JSON, by the Python that has SPU (or the environment variable JATTN_SPU_PYTHON). Everything is run twice.
"""

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, get_args

import jax
import numpy as np
import subjects
from flax import nnx
from side_by_side import ORDER, OUTER, PAPER
from whole_rows import WEIGHTS

from jattn.benchmarks import report
from jattn.cli import runs as trained_runs
from jattn.costs import private
from jattn.costs.private import PROTOCOLS, Measured, Setting
from jattn.training import disk, state
from jattn.training.sweeps import listed, names

HERE = Path(__file__).parent
RESULTS, SMOKE = HERE / "results", trained_runs.RUNS / HERE.name / "smoke"
BLOCKS = (*subjects.BLOCKS, subjects.PRUNED)
DENOMINATORS = ("once", "broadcast")
# of a float in the JSON: fixed point of 18 binary digits has no more
DIGITS = 3
LIBRARIES = ("python", "jattn", "jax", "jaxlib")


class Sizes(NamedTuple):
    """Shapes of operations and blocks, windows of a trained decoder, runs of each subject, and the most of a part."""

    operations: subjects.Shape
    block: subjects.Shape
    paper: subjects.Shape
    windows: int
    repeats: int
    most: int | None


FULL = Sizes(
    operations=subjects.Shape(16, 32, 2),
    block=subjects.Shape(24, 48, 3),
    paper=subjects.Shape(128, 768, 12),
    windows=16,
    repeats=2,
    most=None,
)
TINY = Sizes(
    operations=subjects.Shape(4, 8, 2),
    block=subjects.Shape(4, 8, 2),
    paper=subjects.Shape(4, 8, 2),
    windows=1,
    repeats=1,
    most=1,
)


class Bench(NamedTuple):
    """What every part is given."""

    sizes: Sizes
    python: Path
    smoke: bool

    def task(self, name: str, make: Callable[[], subjects.Subject], setting: Setting, **more: str) -> "Task":
        """One subject under one setting: bytes and messages that each party sent, in each run."""
        head = {"name": name, **more, "protocol": setting.protocol, "denominator": setting.denominator}
        return Task(head, lambda: rowed(self.found(made := make(), setting), made))

    def found(self, subject: subjects.Subject, setting: Setting) -> list[Measured]:
        """As often as it is to be run."""
        return [
            private.measure(subject.function, *subject.arguments, setting=setting, python=self.python)
            for _ in range(self.sizes.repeats)
        ]


class Task(NamedTuple):
    """What a row is known by, and what measures the rest of it."""

    head: dict
    measured: Callable[[], dict]


def rowed(found: list[Measured], subject: subjects.Subject) -> dict:
    """Plain data of the runs; operations are those that send, of all parties in the first run, the largest first."""
    (first, *_), plain = found, np.asarray(jax.jit(subject.function)(*subject.arguments))
    sending = {name: [runs, *sent] for name, (runs, sent) in first.operations.items() if sent.bytes}
    return {
        "runs": [[list(party.sent) for party in each.parties] for each in found],
        "error": float(f"{np.abs(first.outputs[0] - plain).max():.{DIGITS}g}"),
        "seconds": round(first.seconds, 2),
        "operations": dict(sorted(sending.items(), key=lambda item: -item[1][1])),
        "versions": first.versions,
    }


def operations(bench: Bench) -> Iterable[Task]:
    """Single operations on few numbers, under every protocol; with both denominators where one divides."""
    for protocol, (name, subject) in itertools.product(PROTOCOLS, subjects.operations(bench.sizes.operations).items()):
        for denominator in DENOMINATORS if name in WEIGHTS else DENOMINATORS[:1]:
            yield bench.task(name, lambda subject=subject: subject, Setting(protocol, denominator))


def paper_operations(bench: Bench) -> Iterable[Task]:
    """Those of the paper's count columns, at its shape."""
    found = subjects.operations(bench.sizes.paper)
    for protocol, name in itertools.product(OUTER, ("softmax", "layer_norm", "gelu", "relu")):
        yield bench.task(name, lambda name=name: found[name], Setting(protocol, "once"))


def blocks(bench: Bench) -> Iterable[Task]:
    """Whole blocks of every preset."""
    for protocol, name, denominator in itertools.product(OUTER, BLOCKS, DENOMINATORS):
        make = functools.partial(subjects.block, name, bench.sizes.block)
        yield bench.task(name, make, Setting(protocol, denominator))


def replacements(bench: Bench) -> Iterable[Task]:
    """The block with everything in it and the one with softmax alone, their softmax replaced."""
    for name, weights in itertools.product(("SM+LN+G", "SM+ScFuFFN"), WEIGHTS):
        make = functools.partial(subjects.block, name, bench.sizes.block, weights)
        yield bench.task(name, make, Setting(denominator="once"), weights=weights)


def paper_blocks(bench: Bench) -> Iterable[Task]:
    """Whole blocks at the paper's shape, those first that the rules weigh."""
    settings = Setting("semi2k", "once"), Setting("aby3", "once"), Setting("semi2k", "broadcast")
    weighed = (ORDER[0], ORDER[-1], *ORDER[1:-1], *PAPER)
    for name, setting in itertools.product(dict.fromkeys((*weighed, *BLOCKS)), settings):
        yield bench.task(name, functools.partial(subjects.block, name, bench.sizes.paper), setting)


def offline(bench: Bench) -> Iterable[Task]:
    """Whether SPU makes triples between the parties, or by a third one, whose messages would then be counted."""
    product = subjects.operations(bench.sizes.operations)["product"]

    def told(beaver: str) -> dict:
        try:
            (found, *_) = bench.found(product, Setting(beaver=beaver))
        except RuntimeError as error:
            return {"refused": str(error)}
        return {"sent": [list(party.sent) for party in found.parties]}

    for beaver in get_args(private.Beaver):
        yield Task({"beaver": beaver}, functools.partial(told, beaver))


def trained(bench: Bench) -> Iterable[Task]:
    """Held-out windows under trained decoders: nats per byte and logits, in fixed point beside the plain ones."""
    home, setting = SMOKE if bench.smoke else trained_runs.RUNS / HERE.name, Setting(denominator="once")
    file = listed.executed(HERE / "run.py")
    for preset, planned in zip(file.TRAINED, names.planned(file.RUNS, home, RESULTS), strict=True):
        head = {"name": preset, "run": planned.name, "protocol": setting.protocol, "denominator": setting.denominator}
        yield Task(head, functools.partial(scored, bench, planned, setting))


def scored(bench: Bench, planned: names.Planned, setting: Setting) -> dict:
    """The row of one trained decoder."""
    if not (planned.directory / trained_runs.RUN_FILE).exists():
        raise FileNotFoundError(
            f"The part trained needs a run in {planned.directory}, got none; jattn sweep {HERE.name}/run.py"
            f"{' --smoke' * bench.smoke} trains it."
        )
    run, variables = trained_runs.trained(planned.directory, None)
    examples = run.source.held_out(run.context)
    chosen = [examples[n * len(examples) // bench.sizes.windows] for n in range(bench.sizes.windows)]
    tokens, scores = (np.stack([example[part] for example in chosen]) for part in ("tokens", "scored"))
    model = nnx.merge(nnx.graphdef(state.network(run)), variables.params, variables.buffers)
    subject = subjects.decoder(model, tokens[:, :-1])
    found, plain = bench.found(subject, setting), np.asarray(jax.jit(subject.function)(*subject.arguments))
    return {
        **rowed(found, subject),
        "logits": float(f"{np.abs(plain).max():.{DIGITS}g}"),
        "nats": nats(plain, tokens, scores),
        "fixed_point_nats": nats(found[0].outputs[0], tokens, scores),
        "bytes_scored": int(scores.sum()),
    }


def nats(logits: np.ndarray, tokens: np.ndarray, scored: np.ndarray) -> float:
    """What a scored byte costs on average."""
    each = jax.nn.logsumexp(logits, -1) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
    return float(f"{float((each * scored).sum() / scored.sum()):.6g}")


PARTS: dict[str, Callable[[Bench], Iterable[Task]]] = {
    "offline": offline,
    "operations": operations,
    "blocks": blocks,
    "replacements": replacements,
    "trained": trained,
    "paper_operations": paper_operations,
    "paper_blocks": paper_blocks,
}


def read(path: Path) -> list[dict]:
    """The rows that are there already, so that what was cut off goes on."""
    if not path.exists():
        return []
    held = json.loads(path.read_text(encoding="utf-8"))
    return [{**row, "versions": held["versions"]["spu"]} for row in held["rows"]]


def write(path: Path, rows: list[dict]) -> None:
    """A line a row, with machine and versions of both sides."""
    there = next((row["versions"] for row in rows if "versions" in row), {})
    lines = ",\n".join(f"  {json.dumps({k: v for k, v in row.items() if k != 'versions'})}" for row in rows)
    here = {name: held for name, held in report.versions().items() if name in LIBRARIES}
    head = f'"machine": {json.dumps(report.machine())},\n"versions": {json.dumps({"here": here, "spu": there})}'
    disk.write(path, f'{{\n{head},\n"rows": [\n{lines}\n]\n}}\n')


def main(words: list[str]) -> int:
    """Measures and writes after each row, and says where; rows that are there already are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, kept apart from the true results")
    parser.add_argument("--python", help="the Python that has SPU")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"A part is one of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}.")
    if told := private.missing(chosen.python):
        print(told, file=sys.stderr)
        return 1
    bench = Bench(TINY if chosen.smoke else FULL, private.interpreter(chosen.python), chosen.smoke)
    folder = SMOKE / "results" if chosen.smoke else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.parts or PARTS:
        path = folder / f"{name}.json"
        # of tiny sizes nothing is worth keeping
        rows = [] if chosen.smoke else read(path)
        for head, measured in itertools.islice(PARTS[name](bench), bench.sizes.most):
            if not any(head.items() <= row.items() for row in rows):
                rows.append({**head, **measured()})
                write(path, rows)
                print(name, *head.values(), flush=True)
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
