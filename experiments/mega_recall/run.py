"""Recall of pairs by one layer of Mega: over all keys, in chunks that part questions from pairs, without average."""

import dataclasses
from pathlib import Path

from jattn.layers.heads.mega import Mega
from jattn.mechanisms.attention import Attention
from jattn.models.decoder import DecoderConfig
from jattn.parts.caches.recent import Recent
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.training.sweeps import listed

HOME = Path(__file__).parents[1]
RECALL = listed.executed(HOME / "associative_recall" / "run.py")
LANGUAGE = listed.executed(HOME / "mega_language" / "run.py")
RATES = RECALL.RATES
# exact attention of one head, as Mega's is
EXACT = {rate: RECALL.CELLS["exact", RECALL.ARMS["exact"].index((1, RECALL.EXACT)), rate] for rate in RATES}
WHOLE = Attention(RotaryBias(), Causal(), implementation="dense")
S4D = LANGUAGE.MODELS["S4D"]


def chunked(size: int) -> Attention:
    """Attention within chunks, of which decoding keeps one."""
    return dataclasses.replace(WHOLE, mask=WHOLE.mask & BlockDiagonal(size), cache=Recent(size))


def sized(model: DecoderConfig) -> DecoderConfig:
    """A decoder of experiments/mega_language in the size that recall has."""
    return dataclasses.replace(model, width=RECALL.WIDTH, depth=1, vocabulary=RECALL.SOURCE.vocabulary)


ARMS = {
    "exact": EXACT[RATES[0]].model,
    "Mega": sized(LANGUAGE.mega(WHOLE)),
    "Mega, chunks of 12": sized(LANGUAGE.mega(chunked(12))),
    "Mega, chunks of 8": sized(LANGUAGE.mega(chunked(8))),
    "Mega without an average": sized(LANGUAGE.mega(WHOLE, Mega(shared=32, recurrence=None))),
    "S4D": sized(dataclasses.replace(S4D, attention=dataclasses.replace(S4D.attention, cache=Recent(1)))),
}
CELLS = {(arm, rate): dataclasses.replace(EXACT[rate], model=model) for arm, model in ARMS.items() for rate in RATES}
RUNS = list(CELLS.values())
