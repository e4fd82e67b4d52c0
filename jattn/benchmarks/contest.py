"""Checks contenders of attention against the definition, and times those that can take part here in turns."""

from collections.abc import Callable
from typing import NamedTuple

from jattn import extras
from jattn.benchmarks import REFUSED, Row, Spread, calls, turns
from jattn.benchmarks.calls import Call, Made
from jattn.benchmarks.peers import PEERS, TORCH

OURS = "jattn"


class Contender(NamedTuple):
    """What makes a contender ready, and for which call."""

    ready: Callable[[Call, str], Made]
    call: Call


def ours(call: Call, direction: str) -> Made:
    """Our own attention, compiled."""
    return calls.made(calls.ours(call), call, direction)


def entered(peers: dict[str, Call], own: dict[str, Call]) -> dict[str, Contender]:
    """Contenders by name, peers first."""
    return {name: Contender(PEERS[name], call) for name, call in peers.items()} | {
        name: Contender(ours, call) for name, call in own.items()
    }


def checked(
    title: str, contenders: dict[str, Contender], directions: tuple[str, ...]
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that take part, each held to the definition in every direction; and of the others, why they do not.

    Raises FloatingPointError where nobody is right.
    """
    present, absent, references, wrong = {}, {}, {}, None
    for name, contender in contenders.items():
        short = contender.call.checked()
        try:
            made = {direction: contender.ready(short, direction) for direction in directions}
        except (ModuleNotFoundError, NotImplementedError) as error:
            # a peer is an extra, or is for another device; a defect of ours is neither
            why = extras.sentence(name, error) if isinstance(error, ModuleNotFoundError) else str(error)
            if name not in PEERS or why is None:
                raise
            absent[name] = why
            continue
        if short not in references:
            references[short] = calls.reference(short)
        try:
            for direction, each in made.items():
                calls.check(f"{name}, {title}, {direction}", references[short], each.turn())
        except FloatingPointError as error:
            absent[name], wrong = f"{REFUSED}{error}", error
            continue
        present[name] = contender
    if not present:
        raise wrong
    return present, absent


def prepared(contenders: dict[str, Contender], direction: str) -> dict[str, Made]:
    """Each ready for its own call."""
    return {name: contender.ready(contender.call, direction) for name, contender in contenders.items()}


def timed(title: str, made: dict[str, Made], rounds: int, turned: int) -> list[Row]:
    """Rows of contenders in turns, the first the peer; where PyTorch is another of them, ours is held to it too."""
    taken = turns.interleaved({name: each.turn for name, each in made.items()}, rounds, turned)
    memory = {name: each.temporary_bytes for name, each in made.items()}
    notes = {name: each.note for name, each in made.items()}
    peer = next(iter(made))
    found = turns.rows(title, taken, peer, memory, notes)
    if peer != TORCH and TORCH in made and OURS in made:
        beside = turns.rows(title, taken, TORCH, memory, notes)
        found += [row for row in beside if row.contender == OURS]
    return found


def scaled(row: Row, factor: float) -> Row:
    """The row with its ratio times a factor."""
    return row._replace(ratio=Spread(*(factor * each for each in row.ratio)))
