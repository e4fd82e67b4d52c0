"""What `jattn.cost` gives: how often each operation is called, on arrays of which shape."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from jattn.costs import protocols
from jattn.costs.bill import Bill, bill
from jattn.costs.operation import MADE, Calls

# in the order of a table; what is not named here comes after
KINDS = (
    *MADE, "relu", "exp", "log", "tanh", "logistic", "erf", "row_max", "max",
    "comparison", "select", "rsqrt", "sqrt", "division", "multiplication", "product",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """How often each operation is called on secret data, products on public data too.

    `calls` holds what is certain, `a_turn` what one turn of each of `open_loops` loops calls whose turns no jaxpr
    tells: that many turns must be added, which is unknown.
    """

    calls: Calls
    a_turn: Calls = ()
    open_loops: int = 0

    def __repr__(self) -> str:
        said = [
            f"{count} {kind} of {'x'.join(map(str, shape))}"
            for kind in self.kinds() if kind != "product"
            for shape, count in self.shapes(kind).items()
        ]  # fmt: skip
        if self.open_loops:
            said.append(f"{self.open_loops} loops of unknown length")
        return f"Cost({'; '.join([*said, f'{self.flops:.4g} FLOPs of products'])})"

    def kinds(self) -> list[str]:
        """What there is outside of softmaxes, norms and activations, these first."""
        found = dict.fromkeys(operation.kind for operation, _ in self.calls if not operation.within)
        return sorted(found, key=lambda kind: (KINDS.index(kind) if kind in KINDS else len(KINDS), kind))

    def shapes(self, kind: str) -> Mapping[tuple[int, ...], int]:
        """How many there are of each shape, axes before the last two multiplied in; none within another operation."""
        found: Counter = Counter()
        for operation, count in self.calls:
            if operation.kind == kind and not operation.within:
                found[operation.last] += count * operation.times
        return dict(sorted(found.items()))

    def total(self, kind: str, operands: str | None = None) -> int:
        """Entries in all, also within softmaxes, norms and activations; of products, multiplications."""
        return sum(
            count * operation.size for operation, count in self.calls
            if operation.kind == kind and operands in (None, operation.operands)
        )  # fmt: skip

    @property
    def flops(self) -> int:
        """Multiplications and additions of all products of matrices and convolutions, one each."""
        return 2 * self.total("product")

    def plus(self, other: "Cost") -> "Cost":
        """Both, one after the other."""
        return self._joined(other, 1)

    def minus(self, other: "Cost") -> "Cost":
        """What this one has beyond another that it contains."""
        return self._joined(other, -1)

    def under(self, protocol: str) -> Bill:
        """What it takes to compute it by a protocol, by its name in `jattn.costs.protocols`."""
        return bill(self.calls, self.open_loops, protocols.find(protocol))

    def _joined(self, other: "Cost", sign: int) -> "Cost":
        calls, a_turn = (
            tuple(sorted((operation, count) for operation, count in _sum(mine, theirs, sign).items() if count))
            for mine, theirs in ((self.calls, other.calls), (self.a_turn, other.a_turn))
        )
        return Cost(calls, a_turn, self.open_loops + sign * other.open_loops)


def _sum(one: Calls, other: Calls, sign: int) -> Counter:
    total = Counter(dict(one))
    for operation, count in other:
        total[operation] += sign * count
    return total
