"""Times causal attention at lengths that double, and tells its memory further than that; as pictures too.

Temporary memory is that of the compiled program, for which nothing runs.
"""

from typing import Any, NamedTuple

from jattn.benchmarks import Row, contest
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call
from jattn.benchmarks.contest import OURS
from jattn.benchmarks.peers import JAX, TORCH

# a program that allocates more is not run
MOST_TEMPORARY = 2 << 30
HEADS = 4
ORIGIN = "GPT-2's width a head"


class Point(NamedTuple):
    """A length, and how often it is timed; without rounds memory alone is told."""

    length: int
    rounds: int = 0
    turns: int = 1


FULL = (
    Point(256, 5, 20),
    Point(512, 5, 10),
    Point(1024, 5, 4),
    Point(2048, 5, 2),
    Point(4096, 3),
    Point(8192, 3),
    Point(16384, 1),
    Point(32768, 1),
    Point(65536),
    Point(131072),
)
SMOKE = (Point(16, 1), Point(32, 1), Point(64))


def measure(setting: tuple[Point, ...]) -> list[Row]:
    """A row for each direction, length and contender; a length that is only compiled has no times."""
    present, absent = set(), {}
    for short in sorted({_call(point).checked() for point in setting if point.rounds}):
        held, missing = contest.checked(f"causal, {short.length} tokens", _contenders(short), (FORWARD, GRADIENT))
        present |= set(held)
        absent |= missing
    found = [Row("any", name, None, None, JAX, note=why) for name, why in absent.items()]
    return [
        *(
            row
            for direction in (FORWARD, GRADIENT)
            for point in setting
            for row in _measured(point, direction, present)
        ),
        *found,
    ]


def pictures(rows: list[Row]) -> dict[str, Any]:
    """Time and temporary memory against the length, both on logarithmic axes, a panel a direction."""
    from jattn.benchmarks.pictures import log_log

    times = [(row, row.milliseconds.median) for row in rows if row.milliseconds]
    memory = [(row, row.temporary_bytes / 2**20) for row in rows if row.temporary_bytes]
    return {
        "time": log_log(_lines(times), "tokens", "milliseconds"),
        "memory": log_log(_lines(memory), "tokens", "temporary MiB"),
    }


def _lines(points: list[tuple[Row, float]]) -> dict[str, dict[str, list]]:
    """By direction and contender, pairs of length and figure."""
    found: dict[str, dict[str, list]] = {}
    for row, figure in points:
        held = found.setdefault(row.case, {}).setdefault(row.contender, [])
        # a contender that is held to two peers has its figures twice
        if (row.length, figure) not in held:
            held.append((row.length, figure))
    return found


def _call(point: Point) -> Call:
    return Call(point.length, ORIGIN, heads=HEADS)


def _contenders(call: Call) -> dict[str, contest.Contender]:
    return contest.entered({JAX: call, TORCH: call}, {OURS: call})


def _measured(point: Point, direction: str, present: set[str]) -> list[Row]:
    run, rows = {}, []
    for name, contender in _contenders(_call(point)).items():
        # PyTorch has no memory to tell
        if name not in present or name == TORCH and not point.rounds:
            continue
        made = contender.ready(contender.call, direction)
        if point.rounds and (made.temporary_bytes or 0) <= MOST_TEMPORARY:
            run[name] = made
        else:
            why = "compiled, not run" if (made.temporary_bytes or 0) <= MOST_TEMPORARY else "over 2 GiB, not run"
            rows.append(Row(direction, name, None, None, JAX, made.temporary_bytes, why))
    rows = (contest.timed(direction, run, point.rounds, point.turns) if run else []) + rows
    return [row._replace(length=point.length, origin=ORIGIN) for row in rows]
