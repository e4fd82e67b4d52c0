"""Counts what a function computes on secret data, from its jaxpr.

Source: Mohassel and Zhang, "SecureML", IEEE S&P 2017, section IV (of numbers that are shared, sums and what is public
times them cost nothing but a truncation, products of two do); Zahur and Evans, "Obliv-C", 2015, IACR ePrint 2015/1153
(where a condition is secret, both branches run).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

from jattn.costs import patterns
from jattn.costs.graph import OWNED, PUBLIC, SAME, SHARED, Graph, Node, closed, graph
from jattn.costs.operation import Calls, Operation
from jattn.costs.record import Cost

# on shares each party does these alone: moves of entries, and sums
FREE = frozenset(SAME) | {
    "add", "add_any", "all_gather", "all_to_all", "axis_index", "broadcast_in_dim", "complex", "concatenate",
    "copy_p", "cumsum", "device_put", "expand_dims", "imag", "iota", "neg", "not", "optimization_barrier", "pad",
    "pbroadcast", "ppermute", "psum", "psum2", "psum_invariant", "real", "reduce_scatter", "reduce_sum", "reshape",
    "rev", "slice", "split", "squeeze", "stack", "sub", "transpose", "unstack",
    # fixed point has no infinities
    "is_finite",
}  # fmt: skip
# the indices of these decide what is moved
INDEXED = {
    "gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2, "scatter": 1, "scatter-add": 1, "scatter_add": 1,
}  # fmt: skip
# one name for what differs by a constant or a sum alone
NAMES = {
    "exp2": "exp", "expm1": "exp", "log1p": "log", "erfc": "erf", "gt": "comparison", "ge": "comparison",
    "lt": "comparison", "le": "comparison", "eq": "comparison", "ne": "comparison", "sign": "comparison",
    "min": "max", "and": "logic", "or": "logic", "xor": "logic", "pmax": "max", "pmin": "max",
}  # fmt: skip
REDUCED = {
    "reduce_max": "row_max", "reduce_min": "row_max", "argmax": "row_max", "argmin": "row_max", "cummax": "row_max",
    "cummin": "row_max",
    "reduce_and": "row_logic", "reduce_or": "row_logic", "reduce_prod": "row_product",
}  # fmt: skip


class Counts(NamedTuple):
    """How often each operation is called; `a_turn` for one turn of loops whose turns no jaxpr tells, `open_loops`."""

    calls: Counter
    a_turn: Counter
    open_loops: int

    def times(self, turns: int) -> "Counts":
        """All of it in each of so many turns."""
        return Counts(*(_times(each, turns) for each in self[:2]), self.open_loops)

    def plus(self, other: "Counts") -> "Counts":
        """One after the other."""
        return Counts(self.calls + other.calls, self.a_turn + other.a_turn, self.open_loops + other.open_loops)

    def either(self, other: "Counts") -> "Counts":
        """One or the other: of each operation as many as the one has that calls it more often."""
        return Counts(self.calls | other.calls, self.a_turn | other.a_turn, max(self.open_loops, other.open_loops))


NONE = Counts(Counter(), Counter(), 0)


def cost(fn: Callable, *args: Any, public: Sequence[int] = (), owned: Sequence[int] = ()) -> Cost:
    """What `fn(*args)` computes on secret data; arrays or `jax.ShapeDtypeStruct`, for nothing is computed.

    All arguments are secret, and no party sees them, but those whose numbers are in `public`, and those in `owned`, all
    of one party's, which computes alone what depends on them only, and reciprocals of what others are divided by. What
    `fn` closes over is public, so weights are arguments.

    Operations count in the jaxpr as it stands, equal ones once and unread ones not at all. Scans count turn by turn, as
    do loops that run from one known number to another; one turn of any other loop is kept apart. Of the branches of a
    `cond` the costlier counts for each operation where its condition is public, since one of them runs; where it is
    secret, all count, since all must run to hide which was taken. Under `shard_map` all devices count.

    Softmaxes, norms, GELU and SiLU are found by what they compute, written in any way on whole rows; a softmax that is
    made tile by tile in a loop is not one, so give `Attention(implementation="dense")`.

    Raises ValueError for a number in `public` or `owned` that no argument has, and for one that is in both; TypeError
    for what is no function, and for arguments that hold neither arrays nor numbers.
    """
    if not callable(fn):
        raise TypeError(f"A cost is that of a function, got {fn!r}; give it first, as in jattn.cost(f, x).")
    for leaf in jax.tree.leaves(args):
        if not hasattr(leaf, "shape") and not isinstance(leaf, bool | int | float | complex):
            raise TypeError(
                f"A cost is of arrays, numbers or jax.ShapeDtypeStruct, got {leaf!r} among the arguments; close over "
                f"what is none, as in jattn.cost(lambda x: f(x, {leaf!r}), x)."
            )
    who = dict.fromkeys(range(len(args)), SHARED)
    for numbers, seen, name in ((owned, OWNED, "owned"), (public, PUBLIC, "public")):
        for number in numbers:
            if who.get(number) != SHARED:
                raise ValueError(
                    f"cost(..., {name}=...) takes numbers of arguments below {len(args)}, each once, got {number!r}; "
                    f"count from 0."
                )
            who[number] = seen
    secret = [who[number] for number, each in enumerate(args) for _ in jax.tree.leaves(each)]
    made = jax.make_jaxpr(fn)(*args)
    read, used = partial_eval.dce_jaxpr(made.jaxpr, [True] * len(made.jaxpr.outvars))
    held = [each for each, needed in zip(secret, used, strict=True) if needed]
    counts, _ = _Walk().count(core.ClosedJaxpr(read, made.consts), tuple(held))
    return Cost(_sorted(counts.calls), _sorted(counts.a_turn), counts.open_loops)


def _sorted(calls: Counter) -> Calls:
    return tuple(sorted(pair for pair in calls.items() if pair[1]))


def _times(calls: Counter, turns: int) -> Counter:
    return Counter({operation: turns * count for operation, count in calls.items() if turns})


class _Walk:
    """Counts jaxprs, each once for each choice of what is secret."""

    def __init__(self):
        self.known: dict[tuple, tuple[Counts, tuple[int, ...]]] = {}

    def count(self, jaxpr: core.ClosedJaxpr, secret: tuple[int, ...]) -> tuple[Counts, tuple[int, ...]]:
        """The counts, and how secret the outputs are."""
        key = id(jaxpr.jaxpr), secret
        if key not in self.known:
            inner: dict[Node, Counts] = {}

            def body(node: Node) -> Sequence[int]:
                inner[node], found = getattr(self, f"_{node.name}")(node)
                return found

            made = graph(jaxpr, secret, body)
            total = _own(made)
            for each in inner.values():
                total = total.plus(each)
            self.known[key] = total, tuple(value.secret for value in made.outputs)
        return self.known[key]

    def _scan(self, node: Node) -> tuple[Counts, tuple[int, ...]]:
        held = [value.secret for value in node.inputs]
        constants, carried = node.params["num_consts"], node.params["num_carry"]

        def turn(carry: tuple[int, ...]) -> tuple[Counts, tuple[int, ...]]:
            return self.count(closed(node.params["jaxpr"]), (*held[:constants], *carry, *held[constants + carried :]))

        counts, found = _settled(turn, tuple(held[constants : constants + carried]))
        return counts.times(node.params["length"]), found

    def _while(self, node: Node) -> tuple[Counts, tuple[int, ...]]:
        held = tuple(value.secret for value in node.inputs)
        first, second = node.params["cond_nconsts"], node.params["cond_nconsts"] + node.params["body_nconsts"]

        def turn(carry: tuple[int, ...]) -> tuple[Counts, tuple[int, ...]]:
            return self.count(closed(node.params["body_jaxpr"]), (*held[first:second], *carry))

        counts, carry = _settled(turn, held[second:])
        tested, _ = self.count(closed(node.params["cond_jaxpr"]), (*held[:first], *carry))
        turns = _turns(node)
        if turns is not None:
            return counts.times(turns).plus(tested.times(turns + 1)), carry
        both = counts.plus(tested)
        if both == NONE:
            return NONE, carry
        return Counts(Counter(), both.calls + both.a_turn, both.open_loops + 1), carry

    def _cond(self, node: Node) -> tuple[Counts, tuple[int, ...]]:
        held = tuple(value.secret for value in node.inputs[1:])
        made = [self.count(closed(branch), held) for branch in node.params["branches"]]
        chosen = node.inputs[0].secret
        found = tuple(max(chosen, *each) for each in zip(*(secret for _, secret in made), strict=True))
        total = made[0][0]
        for counts, _ in made[1:]:
            total = total.plus(counts) if chosen else total.either(counts)
        if chosen:
            # each output is then one of several
            shapes = [variable.aval.shape for variable in closed(node.params["branches"][0]).jaxpr.outvars]
            more = len(made) - 1
            total = total.plus(NONE._replace(calls=Counter(Operation("select", shape) for shape in shapes * more)))
        return total, found

    def _shard_map(self, node: Node) -> tuple[Counts, tuple[int, ...]]:
        counts, found = self.count(closed(node.params["jaxpr"]), tuple(value.secret for value in node.inputs))
        mesh = node.params["mesh"]
        return counts.times(math.prod(mesh.shape[axis] for axis in node.params["newly_manual_axes"])), found


def _settled(turn: Callable, carry: tuple[int, ...]) -> tuple[Counts, tuple[int, ...]]:
    """A turn once what it carries on becomes no more secret, and how secret things are after it."""
    while True:
        counts, found = turn(carry)
        after = tuple(max(pair) for pair in zip(carry, found, strict=False))
        if after == carry:
            return counts, (*carry, *found[len(carry) :])
        carry = after


def _turns(node: Node) -> int | None:
    """How often a loop turns that counts up by a known step from a known number to another."""
    test, body = (closed(node.params[name]).jaxpr for name in ("cond_jaxpr", "body_jaxpr"))
    constants, carried = node.inputs[: node.params["cond_nconsts"]], len(body.outvars)
    if len(test.eqns) != 1 or test.eqns[0].primitive.name != "lt" or test.outvars[0] is not test.eqns[0].outvars[0]:
        return None
    counter, bound = test.eqns[0].invars
    places = {variable: n for n, variable in enumerate(test.invars)}
    number = places.get(counter, -1) - len(constants) if not isinstance(counter, core.Literal) else -1
    if number < 0:
        return None
    start = node.inputs[len(node.inputs) - carried + number].constant
    stop = bound.val if isinstance(bound, core.Literal) else _bound(node, places[bound], len(constants), body)
    step = _step(body, len(body.invars) - carried + number, body.outvars[number])
    if None in (start, stop, step):
        return None
    return max(0, math.ceil((stop - start) / step))


def _bound(node: Node, place: int, constants: int, body: core.Jaxpr) -> Any:
    """The number that a loop runs up to, if it is known and stays the same."""
    if place < constants:
        return node.inputs[place].constant
    first, number = len(body.invars) - len(body.outvars), place - constants
    same = body.outvars[number] is body.invars[first + number]
    return node.inputs[len(node.inputs) - len(body.outvars) + number].constant if same else None


def _step(body: core.Jaxpr, place: int, out: Any) -> Any:
    for equation in body.eqns:
        if equation.outvars[0] is out and equation.primitive.name == "add":
            given = equation.invars
            for one, other in (given, given[::-1]):
                if one is body.invars[place] and isinstance(other, core.Literal) and other.val > 0:
                    return other.val
    return None


def _own(made: Graph) -> Counts:
    """What the operations of a graph cost, without those in loops and branches."""
    calls: Counter = Counter()
    inside: dict[Node, str] = {}
    for match, nodes in patterns.found(made):
        shape, axes = match.values[0].shape, match.axes
        # rows last
        order = [n for n in range(len(shape)) if n not in axes]
        wide = (math.prod(shape[axis] for axis in axes),) if axes else ()
        calls[Operation(match.kind, (*(shape[n] for n in order), *wide))] += 1
        inside |= dict.fromkeys(nodes, match.kind)
    for node in made.nodes:
        for operation, count in _operations(node).items():
            calls[operation._replace(within=inside.get(node, ""))] += count
    return Counts(calls, Counter(), 0)


def _operations(node: Node) -> Counter:
    """What one operation costs, by kind; nothing where each party does it alone."""
    name = node.name
    if name in ("dot_general", "conv_general_dilated"):
        return Counter({Operation("product", _product(node), _kinds(*node.inputs[:2])): 1})
    if node.secret < SHARED or name in FREE or name in ("scan", "while", "cond", "shard_map"):
        return Counter()
    if name in INDEXED:
        moved = any(value.secret for value in node.inputs[INDEXED[name] :][: _indices(name)])
        return _one("secret index", node.outputs[0].shape) if moved else Counter()
    find = _BY_NAME.get(name)
    if find is not None:
        return find(node)
    if name in REDUCED:
        return _reduced(node)
    return _one(NAMES.get(name, name), node.outputs[0].shape)


def _indices(name: str) -> int | None:
    return 1 if name in ("gather", "scatter", "scatter-add", "scatter_add") else None


def _one(kind: str, shape: tuple[int, ...], operands: str = "", count: int = 1) -> Counter:
    return Counter({Operation(kind, tuple(shape), operands): count}) if count and math.prod(shape) else Counter()


def _kinds(*values: Any) -> str:
    first, second = sorted(("secret" if value.secret else "public" for value in values), reverse=True)
    return f"{first} x {second}"


def _mul(node: Node) -> Counter:
    # signs and gates of known numbers are free
    if any(value.constant in (0, 1, -1) for value in node.inputs):
        return Counter()
    return _one("multiplication", node.outputs[0].shape, _kinds(*node.inputs))


def _div(node: Node) -> Counter:
    left, right = node.inputs
    shape = node.outputs[0].shape
    if right.constant in (1, -1):
        return Counter()
    if right.secret < SHARED:
        return _one("multiplication", shape, _kinds(*node.inputs))
    return _one("division", shape, "secret / secret" if left.secret else "public / secret")


def _square(node: Node) -> Counter:
    return _one("multiplication", node.outputs[0].shape, "secret x secret")


def _integer_pow(node: Node) -> Counter:
    power = abs(node.params["y"])
    # squarings, and a product for each further bit that is set
    products = max(0, power.bit_length() - 1 + power.bit_count() - 1)
    found = _one("multiplication", node.outputs[0].shape, "secret x secret", products)
    if node.params["y"] < 0:
        found += _one("division", node.outputs[0].shape, "public / secret")
    return found


def _larger(node: Node) -> Counter:
    known = [value.constant for value in node.inputs if value.constant is not None]
    if known and np.isinf(known[0]):
        return Counter()
    kind = "relu" if node.name == "max" and known and known[0] == 0 else "max"
    return _one(kind, node.outputs[0].shape)


def _clamp(node: Node) -> Counter:
    return _one("max", node.outputs[0].shape, count=2)


def _abs(node: Node) -> Counter:
    shape = node.outputs[0].shape
    return _one("comparison", shape) + _one("multiplication", shape, "secret x secret")


def _select_n(node: Node) -> Counter:
    return _one("select", node.outputs[0].shape, count=len(node.inputs) - 2) if node.inputs[0].secret else Counter()


def _logic(node: Node) -> Counter:
    return _one("logic", node.outputs[0].shape) if all(value.secret for value in node.inputs) else Counter()


_BY_NAME = {
    "mul": _mul, "div": _div, "square": _square, "integer_pow": _integer_pow, "max": _larger, "min": _larger,
    "clamp": _clamp, "abs": _abs, "select_n": _select_n, "and": _logic, "or": _logic, "xor": _logic,
}  # fmt: skip


def _reduced(node: Node) -> Counter:
    """Rows, and how many entries each has: n of them are n - 1 pairs."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    row = before[node.params["axis"]] if node.name.startswith("cum") else math.prod(before) // max(1, math.prod(after))
    return _one(REDUCED[node.name], (math.prod(before) // max(1, row), row)) if row > 1 else Counter()


def _product(node: Node) -> tuple[int, int, int, int]:
    """How many products of matrices, and their sizes: rows, entries of each sum, columns."""
    left, right, out = node.inputs[0].shape, node.inputs[1].shape, node.outputs[0].shape
    if node.name == "conv_general_dilated":
        numbers = node.params["dimension_numbers"]
        features = right[numbers.rhs_spec[0]]
        groups = node.params["feature_group_count"] * node.params["batch_group_count"]
        return groups, math.prod(out) // features, math.prod(right) // features, features // groups
    (summed, _), (together, _) = node.params["dimension_numbers"]
    batch, inner = (math.prod(left[axis] for axis in axes) for axes in (together, summed))
    return batch, math.prod(left) // max(1, batch * inner), inner, math.prod(right) // max(1, batch * inner)
