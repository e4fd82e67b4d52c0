"""Encodes pieces of a context apart, behind a sink that they share, with the attention of any trained model.

Source: Ratner et al., "Parallel Context Windows for Large Language Models", ACL 2023, arXiv:2212.10947, section 2.1;
Zhang et al., "Attention Entropy is a Key Factor", ACL 2025, arXiv:2412.16545 (the shared sink).
"""

import dataclasses

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.apart import Apart
from jattn.parts.positions.restarting import Restarting


def parallel_context(attention: Attention, length: int, count: int, sink: int = 1) -> Attention:
    """The same attention over `sink` tokens, `count` pieces of `length` tokens each, and a query that sees them all.

    Scores and normalizer keep their arrays, so that trained ones serve; one piece changes nothing.
    """
    mask = attention.mask & Apart(sink, length, count)
    return dataclasses.replace(attention, mask=mask, position=Restarting(attention.position, sink, length, count))
