"""Two parties without a dealer, by homomorphic encryption and oblivious transfer, as SecretFlow SPU computes.

Source: measured with spu 0.9.5 (CHEETAH, FM64, the compiler's defaults): bytes and messages that party 0 sends, all
phases together. Ciphertexts hold thousands of numbers, and the measured arrays hundreds: what an entry takes is
overstated for large ones. Products have no price, for one measured shape does not tell how they grow.
"""

from jattn.costs.protocols import Measured, Protocol

PROTOCOL = Protocol(
    "CHEETAH",
    2,
    "measured with spu 0.9.5, FM64, sent by party 0, on small arrays: overstated for large ones",
    (
        Measured("softmax", (2, 16, 16), 6_329_319, 2421),
        Measured("gelu", (16, 32), 2_592_108, 2291),
        Measured("relu", (16, 32), 775_974, 2230),
        Measured("multiplication", (16, 32), 1_141_098, 936, "secret x secret"),
        Measured("multiplication", (2, 16, 16), 471_699, 930, "secret x public"),
    ),
    lambda operation: None,
)
