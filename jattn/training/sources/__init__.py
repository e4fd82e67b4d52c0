"""The slot `sources`: where training and held-out examples come from, read at random by their number."""

from typing import ClassVar, Protocol

import numpy as np

from jattn.part import Part


class Examples(Protocol):
    """Examples by number, each a dict of arrays; the same number gives the same example."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> dict[str, np.ndarray]: ...


class Source(Part):
    """Gives what a run trains on and what it is tested on; no byte is in both."""

    vocabulary = 256
    # what others reach on the held-out part, in nats per token, by name
    references: ClassVar[dict[str, float]] = {}

    @property
    def unit(self) -> str:
        """What one token is called: 256 of them are bytes."""
        return "byte" if self.vocabulary == 256 else "token"

    def train(self, context: int, seed: int) -> Examples:
        """Examples to train on, `len` an epoch, numbered on and on over epochs: `tokens` "n", n = context + 1."""
        raise NotImplementedError

    def held_out(self, context: int) -> Examples:
        """Examples that score every held-out token once: `tokens` "n" and `scored` "context", 1 where one counts."""
        raise NotImplementedError

    def shards(self) -> int | None:
        """The files that the training examples lie in, of which each host needs one; None where one file serves all."""
        return None
