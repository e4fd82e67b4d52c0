"""CHEETAH says what it does not know."""

from jattn.costs.operation import Operation
from jattn.costs.protocols.cheetah import PROTOCOL


def test_products_have_no_price():
    assert PROTOCOL.price(Operation("product", (1, 16, 32, 16), "secret x secret")) is None
    assert "overstated" in PROTOCOL.source
