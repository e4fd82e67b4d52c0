"""The slot `sources`: where training and held-out examples come from, read at random by their number."""

from typing import ClassVar, Protocol

import jax
import numpy as np

from jattn.part import Part


class Examples(Protocol):
    """Examples by number, each a dict of arrays; the same number gives the same example."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> dict[str, np.ndarray]: ...


class Source(Part):
    """Gives what a run trains on and what it is tested on; no byte is in both.

    Examples hold what an objective reads: `tokens` for a text; `inputs`, `label` and, where tokens are padded, `valid`
    for classification; `source` and `tokens` where one sequence becomes another. A held-out example also holds
    `scored`, 1 where what an objective scores counts.
    """

    vocabulary = 256
    # what others reach on the held-out part, in nats per token, by name
    references: ClassVar[dict[str, float]] = {}

    @property
    def unit(self) -> str:
        """What one token is called: 256 of them are bytes."""
        return "byte" if self.vocabulary == 256 else "token"

    @property
    def shortest(self) -> int:
        """The least context that an example fits in, in tokens."""
        return 1

    @property
    def needs(self) -> dict[str, int]:
        """The least that fields of a model must be, by name."""
        return {"vocabulary": self.vocabulary}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a training example; none is made."""
        return {"tokens": jax.ShapeDtypeStruct((context + 1,), np.int32)}

    def units(self, context: int) -> int:
        """How many units a training example holds."""
        return context

    def train(self, context: int, seed: int) -> Examples:
        """Examples to train on, `len` an epoch, numbered on and on over epochs; of a text, `tokens` "context + 1"."""
        raise NotImplementedError

    def held_out(self, context: int) -> Examples:
        """Examples that score all that is held out once; of a text, `scored` "context" says which tokens count."""
        raise NotImplementedError

    def shards(self) -> int | None:
        """The files that the training examples lie in, of which each host needs one; None where one file serves all."""
        return None
