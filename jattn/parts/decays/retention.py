"""Forgets at a fixed rate of its own for each head.

Source: Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models", 2023, arXiv:2307.08621,
equation 8 (gamma = 1 - 2^(-5 - h)).
"""

import numpy as np
from jaxtyping import Array, Float

from jattn.part import Place, Side, by_head, part
from jattn.parts.decays import Decay


def factors(heads: int) -> np.ndarray:
    """What is left after one token, for each head: 1 - 2^-5, 1 - 2^-6 and so on."""
    return 1 - 2.0 ** (-5 - np.arange(heads))


@part
class Retention(Decay):
    """The paper's factors; there is nothing to choose."""

    def log(self, own: dict, key: Side, place: Place) -> Float[Array, " h"]:
        return by_head(np.log(factors(place.heads)), place.head)
