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
    """What one call on a shape, rows last, took one party: bytes and messages that it sent.

    Of parties that send more and less this is the mean.
    """

    kind: str
    shape: tuple[int, ...]
    bytes: float
    messages: float
    operands: str = ""

    @property
    def row(self) -> int:
        """Entries of a row."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """How many there are."""
        return math.prod(self.shape[:-1])


class Price(NamedTuple):
    """What one call takes one party, in bytes and messages that it sends."""

    bytes: float
    messages: float


class Protocol(NamedTuple):
    """Prices by measurement: bytes as rows, those of a row as its entries, messages whatever the number of rows.

    Where a kind was measured on a short row and a long one, bytes of a row lie on the line through both, and messages
    on the line in the logarithm of its length. `product` is the price of products of matrices, which grows with their
    sides, or None. `source` says what was measured, where and how, and what it leaves out.
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
        short, long = (choose(known, key=lambda each: each.row) for choose in (min, max))
        each = long.bytes / long.rows
        if short.row == long.row:
            return Price(each * operation.size / long.row, long.messages)
        slope = (each - short.bytes / short.rows) / (long.row - short.row)
        # a tree over a row is one level deeper for each doubling
        level = (long.messages - short.messages) / math.log2(long.row / short.row)
        sent = max(0.0, each + slope * (row - long.row)) * operation.size / row
        return Price(sent, max(0.0, long.messages + level * math.log2(row / long.row)))


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
