"""A cost as a table, and as plain data."""

from collections import Counter
from typing import Any

from jattn.costs.bill import Bill
from jattn.costs.record import Cost


def text(cost: Cost) -> str:
    """A line for each kind of operation and each shape, rows last, and one for what softmaxes and the like are of."""
    rows = [("operation", "count", "shape", "entries")]
    for kind in cost.kinds():
        found: Counter = Counter()
        for operation, count in cost.calls:
            if operation.kind == kind and not operation.within:
                found[operation.operands, operation.last] += count * operation.times
        for (operands, shape), count in sorted(found.items()):
            size = count
            for axis in shape:
                size *= axis
            rows.append((f"{kind} {operands}".strip(), f"{count:,}", _shape(shape), f"{size:,}"))
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]:>{widths[3]}}" for row in rows
    ]
    inside = _inside(cost)
    lines += [f"in each {kind}: {', '.join(made)}" for kind, made in inside.items()]
    lines.append(f"products: {cost.flops / 1e9:,.2f} GFLOP")
    if cost.open_loops:
        lines.append(
            f"unknown: the turns of {cost.open_loops} loops; one turn of each takes "
            f"{Cost(cost.a_turn)!r}, which is not counted above"
        )
    return "\n".join(lines)


def bill_text(bill: Bill, round_trip: float, bandwidth: float) -> str:
    """A line for each kind of operation, by bytes; what has no price, by name."""
    parties = bill.protocol.parties
    lines = [
        f"{bill.protocol.name}, {parties} parties, bytes and messages as one of them sends them; prices: "
        f"{bill.protocol.source}"
    ]
    for line in bill.lines:
        lines.append(
            f"{f'{line.kind} {line.operands}'.strip()}: {_bytes(line.bytes)} in {line.messages:,.0f} messages, "
            f"{line.calls} calls"
        )
    for name, size in bill.unknown:
        lines.append(f"{name}: no price, {size:,} entries, unknown")
    if bill.open_loops:
        lines.append(f"{bill.open_loops} loops of unknown length: unknown")
    short = "" if bill.complete else ", without what is unknown"
    lines.append(
        f"one party sends {_bytes(bill.bytes)} in {bill.messages:,.0f} messages, all {parties} together "
        f"{_bytes(parties * bill.bytes)} in {parties * bill.messages:,.0f}{short}"
    )
    lines.append(
        f"modelled, not measured: {bill.seconds(round_trip, bandwidth):,.1f} s at {1e3 * round_trip:g} ms a message "
        f"and {8e-6 * bandwidth:g} Mbit/s{short}"
    )
    return "\n".join(lines)


def record(cost: Cost) -> dict[str, Any]:
    """The same as data that JSON can hold."""
    calls = {
        name: [{**operation._asdict(), "calls": count} for operation, count in held]
        for name, held in (("calls", cost.calls), ("a_turn", cost.a_turn))
    }
    return {**calls, "open_loops": cost.open_loops, "flops": cost.flops}


def bill_record(bill: Bill, round_trip: float, bandwidth: float) -> dict[str, Any]:
    """The same of a bill; bytes and messages are what one of its `parties` sends."""
    return {
        "protocol": bill.protocol.name,
        "parties": bill.protocol.parties,
        "source": bill.protocol.source,
        "lines": [line._asdict() for line in bill.lines],
        "unknown": dict(bill.unknown),
        "open_loops": bill.open_loops,
        "bytes": bill.bytes,
        "messages": bill.messages,
        "modelled_seconds": bill.seconds(round_trip, bandwidth),
        "round_trip": round_trip,
        "bandwidth": bandwidth,
    }


def _inside(cost: Cost) -> dict[str, list[str]]:
    """Of what each kind of pattern is made, entries an entry."""
    entries = {kind: cost.total(kind) for kind in cost.kinds()}
    found: dict[str, list[str]] = {}
    for within in entries:
        kinds = {operation.kind for operation, _ in cost.calls if operation.within == within}
        for kind in sorted(kinds):
            size = sum(n * op.size for op, n in cost.calls if op.within == within and op.kind == kind)
            found.setdefault(within, []).append(f"{size / entries[within]:.3g} {kind} an entry")
    return found


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _bytes(count: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:.0f} bytes"
