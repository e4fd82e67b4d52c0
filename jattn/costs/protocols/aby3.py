"""Three parties hold replicated shares of numbers of 64 bits, of which no two collude, as SecretFlow SPU computes.

Source: measured with spu 0.9.5 (ABY3, FM64, one division a row: `enable_optimize_denominator_with_broadcast`): what all
three send, whose shares of it vary by chance from run to run, shared evenly. Products: Mohassel and Rindal, "ABY3", CCS
2018, section 5 (what a product of matrices takes grows with its result alone), at the bytes measured, which are the
same an entry for five shapes.
"""

from jattn.costs.operation import Operation
from jattn.costs.protocols import Measured, Price, Protocol

PARTIES = 3
# of all parties, for an entry of the result and for a product: of secrets, and by a public matrix, where all truncate
SECRET, PUBLIC = (52, 8), (28, 5)


def product(operation: Operation) -> Price:
    """Products of matrices, one after another."""
    batch, rows, _, columns = operation.shape
    size, messages = PUBLIC if operation.operands == "secret x public" else SECRET
    return Price(size * batch * rows * columns / PARTIES, messages * batch / PARTIES)


def _mean(kind: str, shape: tuple[int, ...], size: int, messages: int, operands: str = "") -> Measured:
    """One party's part of what all sent."""
    return Measured(kind, shape, size / PARTIES, messages / PARTIES, operands)


PROTOCOL = Protocol(
    "ABY3",
    PARTIES,
    "measured with spu 0.9.5, FM64, one division a row, sent by a party on average",
    (
        _mean("softmax", (32, 16), 384_816, 395),
        _mean("softmax", (8, 512), 2_746_864, 555),
        _mean("layer_norm", (32, 16), 104_600, 171),
        _mean("layer_norm", (8, 768), 651_832, 171),
        _mean("rms_norm", (32, 16), 103_704, 166),
        _mean("rms_norm", (32, 128), 476_440, 166),
        _mean("row_max", (32, 16), 82_584, 131),
        _mean("row_max", (32, 128), 699_032, 227),
        _mean("gelu", (64, 64), 4_538_368, 185),
        _mean("silu", (64, 64), 7_503_872, 229),
        _mean("relu", (64, 64), 704_512, 32),
        _mean("max", (64, 64), 704_512, 32),
        _mean("comparison", (64, 64), 442_368, 24),
        _mean("select", (64, 64), 262_144, 8),
        _mean("logic", (64, 64), 12_288, 3),
        _mean("exp", (64, 64), 1_818_624, 69),
        _mean("log", (64, 64), 10_338_304, 120),
        _mean("tanh", (64, 64), 3_555_328, 146),
        _mean("logistic", (64, 64), 7_290_880, 221),
        _mean("erf", (64, 64), 7_962_624, 250),
        _mean("sin", (64, 64), 4_407_296, 112),
        _mean("cos", (64, 64), 4_407_296, 112),
        _mean("rsqrt", (64, 64), 6_340_608, 142),
        _mean("sqrt", (64, 64), 7_307_264, 179),
        _mean("division", (64, 64), 5_685_248, 160, "secret / secret"),
        _mean("division", (64, 64), 5_472_256, 152, "public / secret"),
        _mean("multiplication", (64, 64), 212_992, 8, "secret x secret"),
        _mean("multiplication", (64, 64), 114_688, 5, "secret x public"),
    ),
    product,
)
