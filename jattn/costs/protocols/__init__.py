"""Prices of operations on secret data, a file a protocol; each file holds a `PROTOCOL`, and the folder is the list."""

import functools
import importlib
import math
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from jattn import catalogue
from jattn.costs.operation import Operation


class Measured(NamedTuple):
    """What one call on a shape, rows last, took one party: bytes and messages that it sent."""

    kind: str
    shape: tuple[int, ...]
    bytes: int
    messages: int
    operands: str = ""

    @property
    def row(self) -> int:
        """Entries of a row."""
        return self.shape[-1]


class Price(NamedTuple):
    """What one call takes one party, in bytes and messages that it sends."""

    bytes: float
    messages: float


class Protocol(NamedTuple):
    """Prices by measurement: bytes as entries, taken from the measured row length that is nearest, and messages as
    measured, whatever the number of rows; where several row lengths were, on a line in their logarithm.

    `product` is the price of products of matrices, which grows with their sides, or None. `source` says what was
    measured, where and how, and what it leaves out.
    """

    name: str
    parties: int
    source: str
    measured: tuple[Measured, ...]
    product: Callable[[Operation], Price | None]

    def price(self, operation: Operation) -> Price | None:
        """The price of a call, or None where no measurement tells it."""
        if operation.kind == "product":
            return self.product(operation)
        known = [each for each in self.measured if (each.kind, each.operands) == (operation.kind, operation.operands)]
        if not known:
            return None
        row = operation.shape[-1] if operation.shape else 1
        nearest = min(known, key=lambda each: abs(math.log2(each.row / row)))
        return Price(nearest.bytes * operation.size / math.prod(nearest.shape), _messages(known, row))


def _messages(known: list[Measured], row: int) -> float:
    """A tree over a row is one level deeper for each doubling."""
    short, long = (choose(known, key=lambda each: each.row) for choose in (min, max))
    if short.row == long.row:
        return short.messages
    slope = (long.messages - short.messages) / math.log2(long.row / short.row)
    return max(0.0, short.messages + slope * math.log2(row / short.row))


@functools.cache
def names() -> tuple[str, ...]:
    """Every protocol that has prices."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Protocol:
    """The protocol of that name, in any case. Raises ValueError with the nearest names where there is none."""
    known = name.lower().replace("-", "_")
    if known not in names():
        near = catalogue.nearest(name, names()) or f"there are {', '.join(names())}"
        raise ValueError(f"A protocol must be one that has prices, got {name!r}; {near}.")
    return importlib.import_module(f"{__name__}.{known}").PROTOCOL
