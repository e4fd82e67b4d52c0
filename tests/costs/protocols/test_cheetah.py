"""CHEETAH by what a larger call took beyond a smaller one."""

from jattn.costs.operation import Operation
from jattn.costs.protocols.cheetah import PROTOCOL


def test_a_price_is_a_difference():
    # 128 x 128 - 16 x 32 = 15,872 numbers: ReLU took 2,738,508 + 1,821,004 bytes less 775,974 + 747,302 of both
    assert PROTOCOL.price(Operation("relu", (15_872,))) == ((4_559_512 - 1_523_276) / 2, (8_920 - 4_460) / 2)


def test_products_have_no_price():
    assert PROTOCOL.price(Operation("product", (1, 16, 32, 16), "secret x secret")) is None
    assert "without the keys" in PROTOCOL.source
