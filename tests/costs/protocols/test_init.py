"""Prices grow as the measurements say, and every protocol gives back what was measured."""

import pytest

from jattn.costs import protocols
from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

MADE = Protocol(
    "MADE", 2, "made up",
    (Measured("softmax", (4, 16), 80, 40), Measured("softmax", (2, 64), 136, 60), Measured("relu", (2, 8), 64, 3)),
    lambda operation: None,
)  # fmt: skip


def test_bytes_go_by_the_line_through_rows_and_messages_by_their_logarithm():
    # 20 bytes for 16 entries, 68 for 64: 4 a row and 1 an entry; 10 messages for each doubling
    assert MADE.price(Operation("softmax", (8, 16))) == Price(8 * 20, 40)
    assert MADE.price(Operation("softmax", (2, 2, 128))) == Price(4 * 132, 70)
    assert MADE.price(Operation("softmax", (8,))) == Price(12, 30)


def test_one_measured_row_tells_bytes_an_entry():
    assert MADE.price(Operation("relu", (3, 5))) == Price(60, 3)
    assert MADE.price(Operation("relu", ())) == Price(4, 3)


def test_what_was_not_measured_has_no_price():
    assert MADE.price(Operation("exp", (4,))) is None
    assert MADE.price(Operation("product", (1, 2, 3, 4), "secret x secret")) is None


@pytest.mark.parametrize("name", protocols.names())
def test_a_measured_shape_has_its_measured_price(name):
    held = protocols.find(name)
    assert held.parties in (2, 3) and held.source
    for each in held.measured:
        assert held.price(Operation(each.kind, each.shape, each.operands)) == pytest.approx((each.bytes, each.messages))


def test_names_are_found_in_any_case_and_refused_otherwise():
    assert protocols.find("SEMI2K") is protocols.find("semi2k")
    with pytest.raises(ValueError, match="got 'cheeta'; the nearest is cheetah"):
        protocols.find("cheeta")
