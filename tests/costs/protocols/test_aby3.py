"""Products under ABY3 against what SPU sent."""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Price
from jattn.costs.protocols.aby3 import product


def test_a_product_takes_what_its_result_takes():
    # measured with spu 0.9.5: 5,120 bytes, 3 messages; longer sums take no more
    assert product(Operation("product", (1, 16, 32, 16), "secret x secret")) == Price(5120, 3)
    assert product(Operation("product", (1, 16, 999, 16), "secret x secret")) == Price(5120, 3)
    # scaling by a public number took 2,048 bytes for 512 entries
    assert product(Operation("product", (2, 16, 32, 16), "secret x public")) == Price(2048, 1)
