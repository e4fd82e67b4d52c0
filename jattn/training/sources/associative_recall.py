"""Multi-query associative recall: pairs of a key and a value, then each key again, whose value is to be told.

Source: Arora, Eyuboglu, Timalsina, Johnson, Poli, Zou, Rudra, Re, "Zoology: Measuring and Improving Recall in Efficient
Language Models", ICLR 2024, arXiv:2312.04927, section 4 and the released code.
Departs: queries lie at places drawn evenly, where the paper draws near ones more often, and what lies between them is
one symbol.
"""

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source

# lies between the queries
FILLER = 0
# an epoch, after which examples are new ones all the same; and what is held out
EPOCH, HELD_OUT = 1 << 16, 1024
# what the generators' seeds begin with
TRAINING, TEST = 0, 1


class Recalls:
    """Example by number: `inputs` "context", the value at each query as `labels`, and where those are as `scored`."""

    def __init__(self, source: "AssociativeRecall", context: int, seed: tuple[int, ...], count: int):
        if context < source.shortest:
            raise ValueError(
                f"Each of {source.pairs} pairs takes two tokens and one to ask for it, got a context of {context}; use "
                f"--context {source.shortest}, or fewer pairs."
            )
        self.source = source
        self.context = context
        self.seed = seed
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng((*self.seed, int(number)))
        pairs, keys, values = self.source.pairs, self.source.keys, self.source.values
        key = 1 + random.choice(keys, pairs, replace=False)
        value = 1 + keys + random.integers(values, size=pairs)
        inputs = np.full(self.context, FILLER, np.int32)
        inputs[: 2 * pairs : 2], inputs[1 : 2 * pairs : 2] = key, value
        # in an order of its own
        asked = 2 * pairs + random.choice(self.context - 2 * pairs, pairs, replace=False)
        labels, scored = np.zeros(self.context, np.int32), np.zeros(self.context, np.float32)
        inputs[asked], labels[asked], scored[asked] = key, value, 1
        return {"inputs": inputs, "labels": labels, "scored": scored}


@part
class AssociativeRecall(Source):
    """So many `pairs` an example, keys without repetition out of `keys` symbols and values out of others."""

    pairs: int = 8
    keys: int = 64
    values: int = 64

    def __post_init__(self):
        checks.whole("AssociativeRecall", "pairs", self.pairs, 1, "there is nothing else to recall")
        checks.whole("AssociativeRecall", "keys", self.keys, self.pairs, "each pair has a key of its own")
        checks.whole("AssociativeRecall", "values", self.values, 2, "of one there is nothing to tell")

    @property
    def vocabulary(self) -> int:
        return 1 + self.keys + self.values

    @property
    def unit(self) -> str:
        return "token"

    @property
    def shortest(self) -> int:
        return 3 * self.pairs

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        made = self.train(context, 0)[0]
        return {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in made.items()}

    def train(self, context: int, seed: int) -> Recalls:
        return Recalls(self, context, (TRAINING, seed), EPOCH)

    def held_out(self, context: int) -> Recalls:
        return Recalls(self, context, (TEST,), HELD_OUT)
