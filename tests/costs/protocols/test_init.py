"""Prices grow as the measurements say, and every protocol gives back what was measured."""

import pytest

from jattn.costs import protocols
from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

MADE = Protocol(
    "MADE", 2, "made up", (Measured("softmax", (4, 16), 640, 40), Measured("softmax", (4, 64), 1280, 60)),
    lambda operation: None,
)  # fmt: skip


def test_bytes_go_by_entries_of_the_nearest_row_and_messages_by_its_logarithm():
    # 10 bytes an entry of short rows, 5 of long ones; 10 messages for each doubling
    assert MADE.price(Operation("softmax", (8, 16))) == Price(1280, 40)
    assert MADE.price(Operation("softmax", (2, 2, 128))) == Price(2560, 70)
    assert MADE.price(Operation("softmax", (1, 8))) == Price(80, 30)


def test_what_was_not_measured_has_no_price():
    assert MADE.price(Operation("exp", (4,))) is None
    assert MADE.price(Operation("product", (1, 2, 3, 4), "secret x secret")) is None


@pytest.mark.parametrize("name", protocols.names())
def test_a_measured_shape_has_its_measured_price(name):
    held = protocols.find(name)
    assert held.parties in (2, 3) and held.source
    for each in held.measured:
        assert held.price(Operation(each.kind, each.shape, each.operands)) == Price(each.bytes, each.messages)


def test_names_are_found_in_any_case_and_refused_otherwise():
    assert protocols.find("SEMI2K") is protocols.find("semi2k")
    with pytest.raises(ValueError, match="got 'cheeta'; the nearest is cheetah"):
        protocols.find("cheeta")
