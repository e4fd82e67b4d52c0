"""Prices under ABY3 against what SPU's three parties sent for shapes that they were not made from."""

import pytest

from jattn.costs.operation import Operation
from jattn.costs.protocols.aby3 import PROTOCOL, product

SECRETS, PUBLIC = "secret x secret", "secret x public"


# measured with spu 0.9.5, all three together
@pytest.mark.parametrize(
    "shape, operands, sent, messages",
    [
        ((1, 16, 32, 16), SECRETS, 13_312, 8), ((1, 32, 16, 8), SECRETS, 13_312, 8),
        ((1, 8, 64, 64), SECRETS, 26_624, 8),
        ((3, 16, 32, 16), SECRETS, 39_936, 24), ((1, 16, 32, 16), PUBLIC, 7_168, 5),
    ],
)  # fmt: skip
def test_products_are_exact(shape, operands, sent, messages):
    assert product(Operation("product", shape, operands)) == (sent / 3, messages / 3)


@pytest.mark.parametrize(
    "kind, shape, sent, messages",
    [
        ("softmax", (32, 64), 1_410_864, 459), ("softmax", (32, 128), 2_778_928, 491),
        ("layer_norm", (32, 64), 264_344, 171), ("rms_norm", (32, 64), 263_448, 166),
        ("row_max", (32, 64), 346_776, 195),
    ],
)  # fmt: skip
def test_other_lengths_of_rows_are_told(kind, shape, sent, messages):
    # each call takes some bytes whatever its rows, which the line takes for bytes of rows: below a thousandth
    assert PROTOCOL.price(Operation(kind, shape)) == pytest.approx((sent / 3, messages / 3), rel=1e-3)
