"""Reads a compiled program: its matrix products and what its devices send one another, loops counted turn by turn.

Source: the text of XLA's optimized HLO, openxla.org/xla/operation_semantics; figures that the compilers estimate count
the body of a loop once.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
    "u64": 8, "f64": 8,
}  # fmt: skip
# the TPU compiler's own fusion of a sum and the part that a device keeps of it
SCATTERED = "all-reduce-scatter"

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
IOTA = r"\[([0-9,]+)\](?:T\(([0-9,]+)\))?"
ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\]")


class Collective(NamedTuple):
    """One kind of exchange over some axes of the mesh, between `devices` each time.

    `size` is the bytes of the whole array for one group of devices: what a gather gives, what a sum adds up on each
    device, what one device passes on.
    """

    kind: str
    axes: tuple[str, ...]
    devices: int
    size: int


class Program(NamedTuple):
    """What one device computes: products in `flops`, and how often it takes part in each exchange.

    Loops whose turns no text tells, since data decide them, count once; `open_loops` is how many there are, and
    `open_flops` what their turns took.
    """

    flops: float
    collectives: Counter
    open_loops: int
    open_flops: float


class _Line(NamedTuple):
    name: str
    shape: str
    code: str
    rest: str


def read(text: str, mesh: Mapping[str, int]) -> Program:
    """The figures of a program compiled for a mesh of such sizes, in its order of axes."""
    computations, entry = _parsed(text)
    shapes = {line.name: line.shape for lines in computations.values() for line in lines}
    pieces: set[tuple] = set()
    known: dict[str, Program] = {}

    def total(name: str) -> Program:
        if name not in known:
            parts = [one(line, name) for line in computations[name]]
            known[name] = _sum(parts)
        return known[name]

    def one(line: _Line, inside: str) -> Program:
        flops, found = 0.0, Counter()
        kind = line.code.removesuffix("-start")
        if line.code in ("dot", "convolution"):
            operands = [_arrays(shapes[name])[0] for name in _operands(line)]
            flops = (_dot if line.code == "dot" else _convolution)(line, operands)
        elif kind in KINDS and not _again(line, pieces):
            kind = "reduce-scatter" if inside.startswith(SCATTERED) else kind
            over, devices = _group(line.rest, mesh)
            size = sum(_size(shapes[name]) for name in _operands(line)) * (devices if kind == "all-gather" else 1)
            if devices > 1:
                found[Collective(kind, over, devices, size)] = 1
        return _sum([Program(flops, found, 0, 0.0), *called(line)])

    def called(line: _Line) -> list[Program]:
        if line.code == "while":
            body, condition = (_named(line.rest, key) for key in ("body", "condition"))
            turn, turns = total(body), _turns(line.rest, computations[condition])
            if turns is None:
                return [turn._replace(open_loops=turn.open_loops + 1, open_flops=max(turn.flops, turn.open_flops))]
            many = Counter({each: turns * count for each, count in turn.collectives.items()})
            return [Program(turns * turn.flops, many, turn.open_loops, turns * turn.open_flops)]
        if line.code == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", line.rest)
            names = branches[1].replace("%", "").split(", ") if branches else [
                _named(line.rest, key) for key in ("true_computation", "false_computation")
            ]  # fmt: skip
            return [max(map(total, names), key=lambda branch: branch.flops)]
        return [total(name) for key in ("calls", "to_apply") if (name := _named(line.rest, key))]

    return total(entry)


def _parsed(text: str) -> tuple[dict[str, list[_Line]], str]:
    computations: dict[str, list[_Line]] = {}
    entry, lines = "", []
    for row in text.splitlines():
        if found := HEADER.match(row):
            lines = computations[found[2]] = []
            entry = found[2] if found[1] else entry
        elif found := INSTRUCTION.match(row):
            lines.append(_Line(*found.groups()))
    return computations, entry


def _sum(parts: list[Program]) -> Program:
    found: Counter = Counter()
    for part in parts:
        found.update(part.collectives)
    flops, loops, inside = (sum(part[field] for part in parts) for field in (0, 2, 3))
    return Program(flops, found, loops, inside)


def _arrays(shape: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(kind, tuple(map(int, dims.split(","))) if dims else ()) for kind, dims in ARRAY.findall(shape)]


def _size(shape: str) -> int:
    return sum(BYTES.get(kind, 0) * math.prod(dims) for kind, dims in _arrays(shape))


def _operands(line: _Line) -> list[str]:
    return re.findall(r"%([\w.\-]+)", line.rest.partition(")")[0])


def _named(rest: str, key: str) -> str | None:
    found = re.search(rf"\b{key}=%?([\w.\-]+)", rest)
    return found[1] if found else None


def _again(line: _Line, pieces: set[tuple]) -> bool:
    """Whether another piece of the same exchange, which the TPU compiler spreads over several fusions, was counted."""
    if not (chain := re.search(r'chain_id="?(\d+)', line.rest)):
        return False
    piece = line.code, chain[1], _named(line.rest, "channel_id")
    seen = piece in pieces
    pieces.add(piece)
    return seen


def _turns(rest: str, condition: list[_Line]) -> int | None:
    """How often a loop turns: what the compiler noted, or the number up to which it counts from 0."""
    if noted := re.search(r'known_trip_count":\{"n":"(\d+)"', rest):
        return int(noted[1])
    constants = {line.name: int(line.rest.partition(")")[0]) for line in condition if _number(line)}
    bounds = [constants[name] for line in condition if line.code == "compare" for name in _operands(line)[1:]
              if name in constants and "direction=LT" in line.rest]  # fmt: skip
    return bounds[0] if len(bounds) == 1 else None


def _number(line: _Line) -> bool:
    return line.code == "constant" and re.match(r"\d+\)", line.rest) is not None


def _dot(line: _Line, operands: list[tuple[str, tuple[int, ...]]]) -> float:
    (_, out), (_, left) = _arrays(line.shape)[0], operands[0]
    summed = re.search(r"lhs_contracting_dims=\{([0-9,]*)\}", line.rest)[1]
    return 2.0 * math.prod(out) * math.prod(left[int(axis)] for axis in summed.split(",") if axis)


def _convolution(line: _Line, operands: list[tuple[str, tuple[int, ...]]]) -> float:
    """Products of a convolution, as which the TPU compiler writes every matrix product; what meets padding is none."""
    (_, out), (_, left), (_, right) = _arrays(line.shape)[0], *operands[:2]
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.rest).groups()
    given, kernel, made = (
        dict(zip(names, dims, strict=True)) for names, dims in zip(labels, (left, right, out), strict=True)
    )
    window = re.search(r"window=\{([^}]*)\}", line.rest)
    options = dict(word.split("=") for word in window[1].split()) if window else {}
    pairs = 1
    for axis in range(len(out) - 2):
        (size,), (stride,), (spread,), (wide,), (before, *_) = (
            [int(n) for n in options[name].split("x")[axis].split("_")] if name in options else [default]
            for name, default in (("size", 1), ("stride", 1), ("lhs_dilate", 1), ("rhs_dilate", 1), ("pad", 0))
        )
        at = np.arange(made[str(axis)])[:, None] * stride + np.arange(size)[None] * wide - before
        pairs *= int(((at >= 0) & (at <= (given[str(axis)] - 1) * spread) & (at % spread == 0)).sum())
    groups = int(_named(line.rest, "batch_group_count") or 1)
    return 2.0 * made["b"] * made["f"] * kernel["i"] * pairs / groups


def _group(rest: str, mesh: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    """The axes of the mesh that an exchange goes over, and how many devices take part in each."""
    if found := re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", rest):
        # of a permutation some devices may keep what they have
        pairs = [(int(there), int(here)) for there, here in re.findall(r"\{(\d+),(\d+)\}", found[1])]
        over = _varying(next((pair for pair in pairs if pair[0] != pair[1]), (0,)), mesh)
        return over, math.prod(mesh[axis] for axis in over)
    if found := re.search(r"replica_groups=\{\{([0-9,]+)\}", rest):
        members = [int(n) for n in found[1].split(",")]
    elif found := re.search(rf"replica_groups=\[\d+,(\d+)\]<={IOTA}", rest):
        members = _iota(found[2], found[3])[: int(found[1])].tolist()
    elif found := re.search(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({IOTA}\))? ?\{{([^}}]*)\}}", rest):
        named = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        numbers = np.arange(math.prod(named.values())) if found[2] is None else _iota(found[2], found[3])
        over = re.findall(r"'(\w+)'", found[4])
        where = tuple(slice(None) if name in over else 0 for name in named)
        members = numbers.reshape(tuple(named.values()))[where].ravel().tolist()
    else:
        members = list(range(math.prod(mesh.values())))
    return _varying(members, mesh), len(members)


def _iota(shape: str, order: str | None) -> np.ndarray:
    """Devices as XLA writes them in short: numbers of a shape, with its axes in another order."""
    dims = [int(n) for n in shape.split(",")]
    numbers = np.arange(math.prod(dims)).reshape(dims)
    return (numbers.transpose([int(n) for n in order.split(",")]) if order else numbers).ravel()


def _varying(members: Sequence[int], mesh: Mapping[str, int]) -> tuple[str, ...]:
    places = np.array(np.unravel_index(members, tuple(mesh.values())))
    return tuple(axis for axis, row in zip(mesh, places, strict=True) if len(set(row.tolist())) > 1)
