"""Cuts a text into windows: training windows in an order that the seed decides, held-out windows that slide."""

import functools
import itertools
from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Float, Int

from jattn.training.pieces import Pieces
from jattn.training.sources import Examples

# bytes, or tokens that are read when a slice asks for them
Tokens = bytes | Int[np.ndarray, " n"] | Pieces


# every window of an epoch asks, and a generator costs more than the window
@functools.lru_cache(maxsize=8)
def offset(seed: int, epoch: int, most: int) -> int:
    """How far into the text an epoch begins, from 0 to `most` bytes."""
    return int(np.random.default_rng((seed, epoch)).integers(most + 1))


def sliceable(text: Tokens) -> Int[np.ndarray, " n"] | Pieces:
    """Bytes as an array that shares their memory; anything else as it is."""
    return np.frombuffer(text, np.uint8) if isinstance(text, bytes) else text


def check_length(text: Tokens, context: int) -> None:
    """Refuses a text that holds no window."""
    if len(text) <= context:
        raise ValueError(
            f"A text must hold more bytes than one context, got {len(text)} for a context of {context}; give a smaller "
            f"context."
        )


class Windows:
    """Windows of context + 1 tokens side by side, each epoch from an offset of its own drawn from the seed.

    Neighbours share one token: it is the last target of one and the first input of the next.
    """

    def __init__(self, text: Tokens, context: int, seed: int):
        check_length(text, context)
        self.text = sliceable(text)
        self.context = context
        self.seed = seed
        # one context of slack, so that an offset never loses a window
        self.count = max(1, (len(text) - context) // context)

    def __len__(self) -> int:
        return self.count

    def start(self, number: int) -> int:
        """Where window `number` begins, in bytes."""
        epoch, place = divmod(int(number), self.count)
        slack = min(self.context - 1, len(self.text) - 1 - self.count * self.context)
        return place * self.context + offset(self.seed, epoch, slack)

    def __getitem__(self, number: int) -> dict[str, Int[np.ndarray, " n"]]:
        start = self.start(number)
        return {"tokens": self.text[start : start + self.context + 1].astype(np.int32)}


class Sliding:
    """Windows that start half a context apart; of each the second half of the predictions is scored, of the first all.

    So every byte but the first is scored once, and beyond the first context each is given at least half of one.
    """

    def __init__(self, text: Tokens, context: int):
        self.text = sliceable(text)
        self.context = context
        self.stride = max(1, context // 2)

    def __len__(self) -> int:
        beyond = max(0, len(self.text) - 1 - self.context)
        return 1 + -(-beyond // self.stride)

    def __getitem__(self, number: int) -> dict[str, Int[np.ndarray, " n"] | Float[np.ndarray, " t"]]:
        start = int(number) * self.stride
        here = self.text[start : start + self.context + 1]
        tokens = np.zeros(self.context + 1, np.int32)
        tokens[: len(here)] = here
        place = np.arange(self.context)
        scored = place < len(here) - 1
        if number:
            scored &= place >= self.context - self.stride
        return {"tokens": tokens, "scored": scored.astype(np.float32)}


def shuffled(examples: Examples, seed: int) -> grain.MapDataset:
    """Examples by number: each epoch's shuffled by the seed, on and on."""
    count = len(examples)
    # grain shuffles the places in an epoch; an example is told its epoch through its number
    return (
        grain.MapDataset.range(count)
        .seed(seed)
        .shuffle()
        .repeat()
        .map_with_index(lambda number, place: examples[number // count * count + int(place)])
    )


def batches(examples: Examples, batch: int, seed: int) -> grain.MapDataset:
    """Batches by step, of shuffled examples; no state but the step's number.

    Leaves carry a leading axis b.
    """
    return shuffled(examples, seed).batch(batch)


def stream(batches: grain.MapDataset, first: int, workers: int) -> Iterator[dict[str, Int[np.ndarray, "b n"]]]:
    """Batches in order from number `first` on; so many threads read ahead, 0 reads a batch when it is asked for."""
    if not workers:
        return (batches[number] for number in itertools.count(first))
    ahead = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    iterator = iter(batches.to_iter_dataset(ahead))
    iterator.set_state({"next_index": first})
    return iterator
