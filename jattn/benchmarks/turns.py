"""Times contenders in one process and in turns, so that what slows the machine slows them all."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jattn.benchmarks import Row, Spread

# does the work once and returns when it is done
Turn = Callable[[], Any]
# calls of each contender before the first round; compilation is over by then
WARM_UP = 2


def spread(figures: Sequence[float]) -> Spread:
    """Their median, least and greatest."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def interleaved(contenders: dict[str, Turn], rounds: int, turns: int) -> dict[str, list[float]]:
    """Milliseconds a call of each contender: medians over the turns of a round, one a round."""
    taken = {name: [] for name in contenders}
    for turn in contenders.values():
        for _ in range(WARM_UP):
            turn()
    for _ in range(rounds):
        for name, turn in contenders.items():
            # the first pays for what its predecessor left in the caches
            turn()
            calls = []
            for _ in range(turns):
                began = time.perf_counter()
                turn()
                calls.append(1e3 * (time.perf_counter() - began))
            taken[name].append(statistics.median(calls))
    return taken


def rows(case: str, taken: dict[str, list[float]], peer: str, memory: dict[str, int], notes: dict[str, str]):
    """A row for each contender; a ratio compares the same round, so that a slow one says nothing."""
    return [
        Row(
            case,
            name,
            spread(figures),
            spread([own / other for own, other in zip(figures, taken[peer], strict=True)]),
            peer,
            memory.get(name),
            notes.get(name, ""),
        )
        for name, figures in taken.items()
    ]


def compiled(function: Callable, *arguments: Any) -> tuple[Callable, int | None]:
    """The function compiled for such arguments, and the temporary bytes that it then needs."""
    made = jax.jit(function).lower(*arguments).compile()
    return made, temporary_bytes(made)


def temporary_bytes(made: Any) -> int | None:
    """What a compiled program allocates beside arguments and results; None where its compiler does not say."""
    analysis = made.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes
