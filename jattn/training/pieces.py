"""Reads pieces that lie in many places as one array, and of them only what a slice asks for."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

# gives the values from `start` to `stop` of the piece with this number
Read = Callable[[int, int, int], Int[np.ndarray, " n"]]


class Pieces:
    """Like an array in `len` and slices without a step; a slice holds what `read` gives of each piece that it meets."""

    def __init__(self, lengths: Sequence[int], read: Read):
        # where each piece begins, and where the last one ends
        self.edges = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.read = read

    def __len__(self) -> int:
        return int(self.edges[-1])

    def __getitem__(self, place: slice) -> Int[np.ndarray, " n"]:
        start, stop, step = place.indices(len(self))
        if step != 1:
            raise ValueError(f"Pieces are sliced without a step, got {place}; take the step of the slice.")
        parts = []
        # the last piece that begins here is the one that is not empty
        number = int(np.searchsorted(self.edges, start, side="right")) - 1
        while start < stop:
            first, last = int(self.edges[number]), min(int(self.edges[number + 1]), stop)
            if start < last:
                parts.append(self.read(number, start - first, last - first))
                start = last
            number += 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.uint8)
