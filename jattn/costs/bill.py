"""Counted operations at the prices of a protocol."""

from collections import Counter, defaultdict
from typing import NamedTuple

from jattn.costs.operation import MADE, Calls, Operation
from jattn.costs.protocols import Protocol


def modelled_seconds(messages: float, size: float, round_trip: float = 0.08, bandwidth: float = 12.5e6) -> float:
    """A model of the time between distant parties: each message waits for a round trip, bytes for the bandwidth.

    In seconds and bytes a second; the defaults are the 80 ms and 100 Mbit/s of arXiv:2501.03489. No clock measured it,
    and what each party computes is left out.
    """
    return messages * round_trip + size / bandwidth


class Line(NamedTuple):
    """All calls of one kind: what they take one party, in bytes and messages that it sends."""

    kind: str
    operands: str
    calls: int
    bytes: float
    messages: float


class Bill(NamedTuple):
    """`bytes` and `messages` are sums over what has a price; `unknown` names the rest, by kind and number of entries.

    A softmax, norm or activation without a price is charged as the operations that it is made of. Messages are counted
    as if no two operations shared one.
    """

    protocol: Protocol
    lines: tuple[Line, ...]
    unknown: tuple[tuple[str, int], ...]
    open_loops: int

    def __repr__(self) -> str:
        missing = [f"{size:,} {name}" for name, size in self.unknown]
        missing += [f"{self.open_loops} loops of unknown length"] if self.open_loops else []
        rest = f"; unknown: {', '.join(missing)}" if missing else ""
        sent = f"one party sends {self.bytes:,.0f} bytes in {self.messages:,.0f} messages"
        return f"Bill({self.protocol.name}, {self.protocol.parties} parties: {sent}{rest})"

    @property
    def bytes(self) -> float:
        """Sent by one party."""
        return sum(line.bytes for line in self.lines)

    @property
    def messages(self) -> float:
        """Sent by one party."""
        return sum(line.messages for line in self.lines)

    @property
    def complete(self) -> bool:
        """Whether all has a price."""
        return not self.unknown and not self.open_loops

    def seconds(self, round_trip: float = 0.08, bandwidth: float = 12.5e6) -> float:
        """See `modelled_seconds`."""
        return modelled_seconds(self.messages, self.bytes, round_trip, bandwidth)


def bill(calls: Calls, open_loops: int, protocol: Protocol) -> Bill:
    """What calls take by a protocol."""
    whole = {operation.kind for operation, _ in calls if operation.kind in MADE and protocol.price(operation)}
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    unknown: Counter = Counter()
    for operation, count in calls:
        if operation.within in whole or _apart(operation, whole) or operation.operands == "public x public":
            continue
        price = protocol.price(operation)
        if price is None:
            unknown[f"{operation.kind} {operation.operands}".strip()] += count * operation.size
            continue
        line = found[operation.kind, operation.operands]
        for place, more in enumerate((count, count * price.bytes, count * price.messages)):
            line[place] += more
    lines = (Line(*key, *sums) for key, sums in found.items())
    return Bill(
        protocol, tuple(sorted(lines, key=lambda line: -line.bytes)), tuple(sorted(unknown.items())), open_loops
    )


def _apart(operation: Operation, whole: set[str]) -> bool:
    """Whether its parts are charged in its place."""
    return operation.kind in MADE and operation.kind not in whole
