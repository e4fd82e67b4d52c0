"""Two parties hold additive shares of numbers of 64 bits, as SecretFlow SPU computes on them.

Source: measured with spu 0.9.5 (SEMI2K, FM64, the compiler's defaults): bytes and messages that party 0 sends, the same
on two runs. A trusted third party deals random products beforehand; what that takes is not counted. Division is what
"relu, then divide by the sum" takes beyond relu. Products: Beaver, "Efficient Multiparty Protocols Using Circuit
Randomization", CRYPTO 1991 (both sides are opened, 8 bytes an entry), and 4 bytes an entry to truncate, which together
give the 9,216 bytes measured for 16 x 32 x 16.
"""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

# bytes of a number that is opened, and of one that is truncated
OPENED, TRUNCATED = 8, 4


def product(operation: Operation) -> Price:
    """A product of matrices; by a public one each party multiplies alone."""
    batch, rows, inner, columns = operation.shape
    sent = batch * TRUNCATED * rows * columns
    if operation.operands == "secret x public":
        return Price(sent, 1)
    return Price(sent + batch * OPENED * inner * (rows + columns), 2)


PROTOCOL = Protocol(
    "SEMI2K",
    2,
    "measured with spu 0.9.5, FM64, sent by party 0, without what is dealt beforehand",
    (
        # the divisor is spread over its row before the division, which triples what a softmax takes
        Measured("softmax", (4, 16, 16), 713_728, 95),
        Measured("softmax", (4, 64, 64), 11_419_648, 111),
        Measured("layer_norm", (16, 32), 27_472, 32),
        Measured("rms_norm", (16, 32), 27_408, 31),
        Measured("gelu", (16, 32), 202_752, 45),
        Measured("relu", (16, 32), 36_864, 8),
        Measured("division", (2, 16, 16), 268_800, 38, "secret / secret"),
        Measured("multiplication", (16, 32), 10_240, 2, "secret x secret"),
        Measured("multiplication", (2, 16, 16), 2_048, 1, "secret x public"),
    ),
    product,
)
