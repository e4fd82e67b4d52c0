"""Measures what is no training run: bytes and messages of operations, blocks and trained decoders on secret shares.

python experiments/private_cost/measure.py [PART ...] [--smoke] [--python PATH]: all parts or those named, each into its
JSON, by the Python that has SPU (or the environment variable JATTN_SPU_PYTHON). Everything is run twice.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import subjects
from flax import nnx
from whole_rows import WEIGHTS

from jattn.benchmarks import report
from jattn.cli import runs as trained_runs
from jattn.costs import private
from jattn.costs.private import Measured, Setting
from jattn.training import state
from jattn.training.sweeps import listed, names

HERE = Path(__file__).parent
RESULTS, SMOKE = HERE / "results", trained_runs.RUNS / HERE.name / "smoke"
PAPER = subjects.Shape(tokens=128, width=768, heads=12)
OUTER = ("semi2k", "aby3")
DENOMINATORS = ("once", "broadcast")
# of a float in the JSON: fixed point of 18 binary digits has no more
DIGITS = 3


class Sizes(NamedTuple):
    """Shapes of operations and of blocks, which blocks at the paper's shape, and windows of a trained decoder.

    `costly` are the protocols of single operations, of which Cheetah takes seconds each; `repeats` is how often each is
    run.
    """

    operations: subjects.Shape
    costly: tuple[str, ...]
    block: subjects.Shape
    blocks: tuple[str, ...]
    paper: subjects.Shape
    paper_blocks: tuple[str, ...]
    windows: int
    repeats: int = 2


FULL = Sizes(
    operations=subjects.Shape(16, 32, 2),
    costly=("semi2k", "aby3", "cheetah"),
    block=subjects.Shape(24, 48, 3),
    blocks=(*subjects.BLOCKS, subjects.PRUNED),
    paper=PAPER,
    paper_blocks=(*subjects.BLOCKS, subjects.PRUNED),
    windows=16,
)
TINY = Sizes(
    operations=subjects.Shape(4, 8, 2),
    costly=("semi2k",),
    block=subjects.Shape(4, 8, 2),
    blocks=("SM+ScFuFFN",),
    paper=subjects.Shape(4, 8, 2),
    paper_blocks=("SM+ScFuFFN",),
    windows=1,
    repeats=1,
)


class Bench(NamedTuple):
    """What every part is given."""

    sizes: Sizes
    python: Path
    smoke: bool

    def row(self, name: str, subject: subjects.Subject, setting: Setting) -> dict:
        """One subject under one setting: bytes and messages that each party sent, in each run."""
        return rowed(name, setting, self.found(subject, setting), subject)

    def found(self, subject: subjects.Subject, setting: Setting) -> list[Measured]:
        """As often as it is to be run."""
        return [
            private.measure(subject.function, *subject.arguments, setting=setting, python=self.python)
            for _ in range(self.sizes.repeats)
        ]


def rowed(name: str, setting: Setting, found: list[Measured], subject: subjects.Subject) -> dict:
    """Plain data of the runs; operations are those that send, of all parties in the first run, the largest first."""
    (first, *_), plain = found, np.asarray(jax.jit(subject.function)(*subject.arguments))
    sending = {name: [runs, *sent] for name, (runs, sent) in first.operations.items() if sent.bytes}
    return {
        "name": name,
        "protocol": setting.protocol,
        "denominator": setting.denominator,
        "runs": [[list(party.sent) for party in each.parties] for each in found],
        "error": float(f"{np.abs(first.outputs[0] - plain).max():.{DIGITS}g}"),
        "seconds": round(first.seconds, 2),
        "operations": dict(sorted(sending.items(), key=lambda item: -item[1][1])),
        "versions": first.versions,
    }


def operations(bench: Bench) -> Iterable[dict]:
    """Single operations on few numbers, under every protocol; with both denominators where one divides."""
    for protocol, (name, subject) in itertools.product(
        bench.sizes.costly, subjects.operations(bench.sizes.operations).items()
    ):
        for denominator in DENOMINATORS if name in WEIGHTS else DENOMINATORS[:1]:
            yield bench.row(name, subject, Setting(protocol, denominator))


def paper_operations(bench: Bench) -> Iterable[dict]:
    """Those of the paper's count columns, at its shape."""
    found = subjects.operations(bench.sizes.paper)
    for protocol, name in itertools.product(OUTER, ("softmax", "layer_norm", "gelu", "relu")):
        yield bench.row(name, found[name], Setting(protocol, "once"))


def blocks(bench: Bench) -> Iterable[dict]:
    """Whole blocks of every preset."""
    for protocol, name, denominator in itertools.product(OUTER, bench.sizes.blocks, DENOMINATORS):
        yield bench.row(name, subjects.block(name, bench.sizes.block), Setting(protocol, denominator))


def replacements(bench: Bench) -> Iterable[dict]:
    """The block with everything in it and the one with softmax alone, their softmax replaced."""
    for name, weights in itertools.product(("SM+LN+G", "SM+ScFuFFN"), WEIGHTS):
        subject = subjects.block(name, bench.sizes.block, weights)
        yield {"weights": weights, **bench.row(name, subject, Setting(denominator="once"))}


def paper_blocks(bench: Bench) -> Iterable[dict]:
    """Whole blocks at the paper's shape."""
    for protocol, name in itertools.product(OUTER, bench.sizes.paper_blocks):
        yield bench.row(name, subjects.block(name, bench.sizes.paper), Setting(protocol, "once"))
    for name in bench.sizes.paper_blocks:
        yield bench.row(name, subjects.block(name, bench.sizes.paper), Setting("semi2k", "broadcast"))


def offline(bench: Bench) -> Iterable[dict]:
    """Whether SPU makes triples between the parties, or by a third one, whose messages would then be counted."""
    product = subjects.operations(bench.sizes.operations)["product"]
    for beaver in ("TrustedFirstParty", "TrustedThirdParty", "MultiParty"):
        try:
            found = private.measure(
                product.function, *product.arguments, setting=Setting(beaver=beaver), python=bench.python
            )
            yield {"beaver": beaver, "sent": [list(party.sent) for party in found.parties]}
        except RuntimeError as error:
            yield {"beaver": beaver, "refused": str(error)}


def trained(bench: Bench) -> Iterable[dict]:
    """Held-out windows under trained decoders: nats per byte and logits, in fixed point beside the plain ones."""
    home = SMOKE if bench.smoke else trained_runs.RUNS / HERE.name
    for planned in names.planned(listed.runs(HERE / "run.py"), home, RESULTS):
        if not (planned.directory / trained_runs.RUN_FILE).exists():
            raise FileNotFoundError(
                f"The part trained needs runs in {home}, got none; jattn sweep {HERE / 'run.py'}"
                f"{' --smoke' * bench.smoke} trains them."
            )
        run, variables = trained_runs.trained(planned.directory)
        examples = run.source.held_out(run.context)
        chosen = [examples[n * len(examples) // bench.sizes.windows] for n in range(bench.sizes.windows)]
        tokens, scored = (np.stack([example[part] for example in chosen]) for part in ("tokens", "scored"))
        model = nnx.merge(nnx.graphdef(state.decoder(run)), variables.params, variables.buffers)
        subject = subjects.decoder(model, tokens[:, :-1])
        setting = Setting(denominator="once")
        found = bench.found(subject, setting)
        plain = np.asarray(jax.jit(subject.function)(*subject.arguments))
        yield {
            **rowed(planned.name, setting, found, subject),
            "model": run.model.activation,
            "logits": float(f"{np.abs(plain).max():.{DIGITS}g}"),
            "nats": nats(plain, tokens, scored),
            "fixed_point_nats": nats(found[0].outputs[0], tokens, scored),
            "bytes_scored": int(scored.sum()),
        }


def nats(logits: np.ndarray, tokens: np.ndarray, scored: np.ndarray) -> float:
    """What a scored byte costs on average."""
    each = jax.nn.logsumexp(logits, -1) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
    return float(f"{float((each * scored).sum() / scored.sum()):.6g}")


PARTS: dict[str, Callable[[Bench], Iterable[dict]]] = {
    "offline": offline,
    "operations": operations,
    "blocks": blocks,
    "replacements": replacements,
    "trained": trained,
    "paper_operations": paper_operations,
    "paper_blocks": paper_blocks,
}


def write(folder: Path, name: str, rows: list[dict]) -> None:
    """A line a row, with machine and versions of both sides."""
    there = next((row["versions"] for row in rows if "versions" in row), {})
    lines = ",\n".join(f"  {json.dumps({k: v for k, v in row.items() if k != 'versions'})}" for row in rows)
    here = {**report.versions(), "numpy": np.__version__}
    head = f'"machine": {json.dumps(report.machine())},\n"versions": {json.dumps({"here": here, "spu": there})}'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(f'{{\n{head},\n"rows": [\n{lines}\n]\n}}\n', encoding="utf-8")


def main(words: list[str]) -> int:
    """Measures and writes, and says where."""
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
    for name in chosen.parts or PARTS:
        rows = []
        for row in PARTS[name](bench):
            rows.append(row)
            print(name, *row.values(), flush=True)
        write(folder, name, rows)
        print(folder / f"{name}.json", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
