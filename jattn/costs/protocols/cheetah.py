"""Two parties without a dealer, by homomorphic encryption and oblivious transfer, as SecretFlow SPU computes.

Source: measured with spu 0.9.5 (CHEETAH, FM64, one division a row: `enable_optimize_denominator_with_broadcast`): what
a call on 128 x 128 numbers makes both parties send beyond one on 16 x 32, shared evenly, all phases together. What each
run sends before it begins, up to ten megabytes of keys, is thus left out; messages are cut to a size, so that there are
more of them for larger arrays. Products have no price: at the sizes measured keys hide what they take.
"""

from jattn.costs.protocols import Measured, Protocol

PARTIES = 2
# as many numbers as the large call has beyond the small one
MORE = (124, 128)


def _beyond(kind: str, large: tuple[int, int], small: tuple[int, int], operands: str = "") -> Measured:
    """One party's part of the bytes and messages that the large call took beyond the small one."""
    size, messages = ((one - other) / PARTIES for one, other in zip(large, small, strict=True))
    return Measured(kind, MORE, size, messages, operands)


PROTOCOL = Protocol(
    "CHEETAH",
    PARTIES,
    "measured with spu 0.9.5, FM64, one division a row, sent by a party on average, without the keys of each run",
    (
        _beyond("softmax", (29_671_514, 9_568), (13_334_623, 4_882)),
        _beyond("layer_norm", (11_548_014, 7_707), (2_995_455, 4_520)),
        _beyond("gelu", (48_979_659, 9_350), (5_536_341, 4_582)),
        _beyond("relu", (4_559_512, 8_920), (1_523_276, 4_460)),
        _beyond("exp", (21_465_237, 6_444), (10_691_378, 3_223)),
        _beyond("rsqrt", (40_547_916, 9_126), (3_531_324, 4_508)),
        _beyond("division", (46_094_376, 11_798), (4_665_336, 4_556), "public / secret"),
        _beyond("multiplication", (6_362_393, 6_308), (2_424_372, 1_872), "secret x secret"),
        _beyond("multiplication", (2_464_370, 6_282), (941_926, 1_860), "secret x public"),
    ),
    lambda operation: None,
)
