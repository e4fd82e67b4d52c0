"""One operation on arrays that are secret: its kind and shape."""

import math
from typing import NamedTuple

# patterns, which are made of other operations
MADE = ("softmax", "layer_norm", "rms_norm", "gelu", "silu")


class Operation(NamedTuple):
    """One call: what is done, on an array of which shape, rows last, or for products (batch, rows, inner, columns).

    `operands` says which are secret; `within` names the softmax, norm or activation that it is a part of.
    """

    kind: str
    shape: tuple[int, ...]
    operands: str = ""
    within: str = ""

    @property
    def size(self) -> int:
        """Entries; of products, multiplications."""
        return math.prod(self.shape)

    @property
    def last(self) -> tuple[int, ...]:
        """The two last axes, or all of a product but how many there are."""
        return self.shape[1:] if self.kind == "product" else self.shape[-2:]

    @property
    def times(self) -> int:
        """How many of these there are in a call."""
        return self.size // math.prod(self.last) if self.size else 0


Calls = tuple[tuple[Operation, int], ...]
