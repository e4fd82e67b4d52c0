"""Bills at made-up prices, by hand."""

import math

from jattn.costs.bill import bill, modelled_seconds
from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

CALLS = (
    (Operation("softmax", (2, 4, 8)), 3), (Operation("exp", (2, 4, 8), "", "softmax"), 3),
    (Operation("relu", (10,)), 2), (Operation("product", (1, 2, 3, 4), "public x public"), 1),
)  # fmt: skip


def protocol(*measured):
    return Protocol("MADE", 2, "made up", measured, lambda operation: Price(1000, 1))


def test_a_pattern_with_a_price_hides_its_parts():
    made = bill(CALLS, 0, protocol(Measured("softmax", (8,), 80, 7), Measured("exp", (8,), 8, 1)))
    # 10 bytes an entry, 64 entries, 3 calls; what is public is nobody's secret
    assert [(line.kind, line.calls, line.bytes, line.messages) for line in made.lines] == [("softmax", 3, 1920, 21)]


def test_a_pattern_without_a_price_is_charged_by_its_parts():
    made = bill(CALLS, 0, protocol(Measured("exp", (8,), 8, 1)))
    assert [(line.kind, line.bytes, line.messages) for line in made.lines] == [("exp", 192, 3)]


def test_what_has_no_price_is_unknown_and_not_zero():
    made = bill(CALLS, 0, protocol(Measured("softmax", (8,), 80, 7)))
    assert made.unknown == (("relu", 20),) and not made.complete
    nothing = bill(CALLS, 0, protocol())
    assert nothing.unknown == (("exp", 192), ("relu", 20))
    assert bill(CALLS[:2], 0, protocol(Measured("softmax", (8,), 80, 7))).complete
    assert not bill(CALLS[:2], 1, protocol(Measured("softmax", (8,), 80, 7))).complete


def test_it_is_shown_in_a_line():
    made = bill(CALLS, 1, protocol(Measured("softmax", (8,), 80, 7)))
    assert repr(made) == (
        "Bill(MADE, 2 parties: one party sends 1,920 bytes in 21 messages; unknown: 20 relu, 1 loops of unknown length)"
    )
    assert repr(bill((), 0, protocol())) == "Bill(MADE, 2 parties: one party sends 0 bytes in 0 messages)"


def test_time_is_messages_by_round_trips_and_bytes_by_bandwidth():
    made = bill(CALLS, 0, protocol(Measured("softmax", (8,), 80, 7)))
    assert made.seconds(round_trip=0.5, bandwidth=100) == 21 * 0.5 + 1920 / 100
    # the paper's network: 80 ms and 100 Mbit/s
    assert math.isclose(modelled_seconds(10, 12_500_000), 0.8 + 1)
