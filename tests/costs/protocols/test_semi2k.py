"""Prices under SEMI2K against what SPU sent for shapes that they were not made from."""

import pytest

from jattn.costs.operation import Operation
from jattn.costs.protocols.semi2k import PROTOCOL, product

SECRETS, PUBLIC = "secret x secret", "secret x public"


# measured with spu 0.9.5
@pytest.mark.parametrize(
    "shape, operands, sent, messages",
    [
        ((1, 16, 32, 16), SECRETS, 9_216, 2), ((1, 32, 16, 8), SECRETS, 6_144, 2), ((1, 8, 64, 64), SECRETS, 38_912, 2),
        ((1, 64, 8, 8), SECRETS, 6_656, 2), ((3, 16, 32, 16), SECRETS, 27_648, 6), ((1, 16, 32, 16), PUBLIC, 1_024, 1),
    ],
)  # fmt: skip
def test_products_are_exact(shape, operands, sent, messages):
    assert product(Operation("product", shape, operands)) == (sent, messages)


def test_the_products_of_a_block_at_the_papers_shape_are_exact():
    # measured there, one party's half: 67,239,936 bytes of products by weights, 5,111,808 in 48 messages of attention's
    weights = [(1, 128, 768, 768)] * 4 + [(1, 128, 768, 3072), (1, 128, 3072, 768)]
    heads = [(12, 128, 64, 128), (12, 128, 128, 64)]
    found = [[product(Operation("product", shape, SECRETS)) for shape in shapes] for shapes in (weights, heads)]
    assert sum(price.bytes for price in found[0]) == 67_239_936
    assert sum(price.bytes for price in found[1]) == 5_111_808 and sum(price.messages for price in found[1]) == 48


@pytest.mark.parametrize(
    "kind, shape, sent, messages",
    [
        ("softmax", (32, 64), 409_376, 111), ("softmax", (32, 128), 802_592, 119), ("softmax", (128, 16), 457_856, 95),
        ("layer_norm", (32, 64), 95_904, 32), ("layer_norm", (32, 128), 177_824, 32),
        ("rms_norm", (32, 64), 95_776, 31), ("row_max", (32, 64), 145_152, 48),
        ("gelu", (16, 16), 101_376, 45), ("relu", (16, 16), 18_432, 8),
        ("exp", (16, 16), 25_600, 17),
    ],
)  # fmt: skip
def test_other_lengths_of_rows_are_exact(kind, shape, sent, messages):
    # up to rounding of the line
    assert PROTOCOL.price(Operation(kind, shape)) == pytest.approx((sent, messages), rel=1e-12)
