"""Reads a model of rotary positions beyond the length of its training, with the entropy that its rows had there.

Source: Zhang, Li, Liu, "Extending LLMs' Context Window with 100 Samples", 2024, arXiv:2401.07004 (Entropy-ABF).
Departs: `skip=2`, the paper's text; the released code means to leave those layers alone and scales every one, `skip=0`.
"""

import dataclasses

from jattn.mechanisms.attention import Attention
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.length_scale import LengthScale


def entropy_abf(attention: Attention, context: int = 4096, base: float = 500000.0, skip: int = 2) -> Attention:
    """The attention of a model trained on `context` tokens with a larger base and, beyond that length, sharper rows.

    No array is added and none is renamed, so that trained ones serve. The first `skip` layers turn by the new base too,
    but are not sharpened. What other scores add is sharpened with the product. Raises ValueError for another position.
    """
    if not isinstance(attention.position, Rotary):
        raise ValueError(
            f"entropy_abf gives Rotary positions a larger base, got {type(attention.position).__name__}; for a model "
            f"without them use the score LengthScale alone."
        )
    position = dataclasses.replace(attention.position, base=base)
    # behind the others, whose arrays lie at their number
    return dataclasses.replace(attention, position=position, score=(*attention.score, LengthScale(context, skip)))
