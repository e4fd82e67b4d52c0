"""Three parties hold replicated shares of numbers of 64 bits, of which no two collude, as SecretFlow SPU computes.

Source: measured with spu 0.9.5 (ABY3, FM64, the compiler's defaults): bytes and messages that party 0 sends, the same
on two runs; the other two may send more or less. Products: Mohassel and Rindal, "ABY3", CCS 2018, section 5 (what a
product of matrices takes grows with its result alone), at the 5,120 bytes measured for 16 x 32 x 16.
"""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

# bytes an entry of the result, of a product of secrets and of one by a public matrix, which is truncated alone
SECRET, PUBLIC = 20, 4


def product(operation: Operation) -> Price:
    """A product of matrices."""
    batch, rows, _, columns = operation.shape
    entries = batch * rows * columns
    return Price(PUBLIC * entries, 1) if operation.operands == "secret x public" else Price(SECRET * entries, 3)


PROTOCOL = Protocol(
    "ABY3",
    3,
    "measured with spu 0.9.5, FM64, sent by party 0 of three",
    (
        Measured("softmax", (2, 16, 16), 346_128, 134),
        Measured("layer_norm", (16, 32), 24_648, 54),
        Measured("rms_norm", (16, 32), 24_840, 55),
        Measured("gelu", (16, 32), 186_368, 61),
        Measured("relu", (16, 32), 30_720, 11),
        Measured("multiplication", (16, 32), 6_144, 2, "secret x secret"),
        Measured("multiplication", (2, 16, 16), 2_048, 1, "secret x public"),
    ),
    product,
)
