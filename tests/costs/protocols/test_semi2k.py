"""Products under SEMI2K against what SPU sent."""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Price
from jattn.costs.protocols.semi2k import PROTOCOL, product


def test_a_product_opens_both_sides_and_truncates_its_result():
    # measured with spu 0.9.5: 9,216 bytes, 2 messages
    assert product(Operation("product", (1, 16, 32, 16), "secret x secret")) == Price(9216, 2)
    assert product(Operation("product", (3, 16, 32, 16), "secret x secret")) == Price(3 * 9216, 2)
    # what scaling by a public number took: 2,048 bytes for 512 entries
    assert product(Operation("product", (1, 16, 32, 32), "secret x public")) == Price(2048, 1)


def test_a_block_of_products_adds_up_to_the_measured_bytes():
    # spu 0.9.5, a block of width 64 with 4 heads on 16 tokens under s/n: 2,294,304 bytes, of which GELU 16 x 256 and
    # two norms and scaling of scores leave the six products and the two of attention; all within a tenth
    products = [((1, 16, 64, 64), 4), ((1, 16, 64, 256), 1), ((1, 16, 256, 64), 1), ((4, 16, 16, 16), 2)]
    sent = sum(count * product(Operation("product", shape, "secret x secret")).bytes for shape, count in products)
    rest = [("gelu", (16, 256), "", 1), ("layer_norm", (16, 64), "", 2)]
    rest += [("multiplication", (4, 16, 16), "secret x public", 2)]
    sent += sum(count * PROTOCOL.price(Operation(kind, shape, who)).bytes for kind, shape, who, count in rest)
    assert abs(sent / 2_294_304 - 1) < 0.1, sent
