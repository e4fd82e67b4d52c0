"""Two parties hold additive shares of numbers of 64 bits, as SecretFlow SPU computes on them.

Source: measured with spu 0.9.5 (SEMI2K, FM64, one division a row: `enable_optimize_denominator_with_broadcast`): what
each of the two sends. A dealer hands out random products beforehand, which is not counted. Products: Beaver, "Efficient
Multiparty Protocols Using Circuit Randomization", CRYPTO 1991 (both sides are opened, 8 bytes an entry), and 4 bytes an
entry to truncate, which give the bytes measured for six shapes exactly.
"""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

# bytes of a number that is opened, and of one that is truncated
OPENED, TRUNCATED = 8, 4


def product(operation: Operation) -> Price:
    """Products of matrices, one after another; by a public one each party multiplies alone."""
    batch, rows, inner, columns = operation.shape
    sent = batch * TRUNCATED * rows * columns
    if operation.operands == "secret x public":
        return Price(sent, batch)
    return Price(sent + batch * OPENED * inner * (rows + columns), 2 * batch)


PROTOCOL = Protocol(
    "SEMI2K",
    2,
    "measured with spu 0.9.5, FM64, one division a row, sent by one party, without what is dealt beforehand",
    (
        # divided weight by weight, as SPU does unless told, the long rows would take 2,854,912 bytes
        Measured("softmax", (32, 16), 114_464, 95),
        Measured("softmax", (8, 512), 790_472, 135),
        Measured("layer_norm", (32, 16), 34_464, 32),
        Measured("layer_norm", (8, 768), 249_256, 32),
        Measured("rms_norm", (32, 16), 34_336, 31),
        Measured("rms_norm", (32, 128), 177_696, 31),
        Measured("row_max", (32, 16), 34_560, 32),
        Measured("row_max", (32, 128), 292_608, 56),
        Measured("gelu", (64, 64), 1_622_016, 45),
        Measured("silu", (64, 64), 2_560_000, 55),
        Measured("relu", (64, 64), 294_912, 8),
        Measured("max", (64, 64), 294_912, 8),
        Measured("comparison", (64, 64), 229_376, 7),
        Measured("select", (64, 64), 65_536, 1),
        Measured("logic", (64, 64), 1_769_472, 15),
        Measured("exp", (64, 64), 409_600, 17),
        Measured("log", (64, 64), 2_088_960, 26),
        Measured("tanh", (64, 64), 1_327_104, 36),
        Measured("logistic", (64, 64), 2_478_080, 53),
        Measured("erf", (64, 64), 2_953_216, 60),
        Measured("sin", (64, 64), 1_327_104, 22),
        Measured("cos", (64, 64), 1_327_104, 22),
        Measured("rsqrt", (64, 64), 1_757_184, 26),
        Measured("sqrt", (64, 64), 2_101_248, 35),
        Measured("division", (64, 64), 2_150_400, 38, "secret / secret"),
        Measured("division", (64, 64), 2_068_480, 36, "public / secret"),
        Measured("multiplication", (64, 64), 81_920, 2, "secret x secret"),
        Measured("multiplication", (64, 64), 16_384, 1, "secret x public"),
    ),
    product,
)
