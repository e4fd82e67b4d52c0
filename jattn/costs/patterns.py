"""Finds softmaxes, norms and activations in a graph by what they compute, however they are written.

Source: a softmax is exp(x - c) divided by its own sum over the same axes, or exp(x - c - log of that sum), for any c
that is constant along these axes (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018,
arXiv:1805.02867, section 2); a norm is x divided by the root of the sum of its own squares, times a constant (Ba et
al., "Layer Normalization", 2016, arXiv:1607.06450, section 3; Zhang and Sennrich, "Root Mean Square Layer
Normalization", NeurIPS 2019, arXiv:1910.07467, equation 4); an activation is told by its values.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jattn.costs.graph import PUBLIC, SHARED, Graph, Node, Value, View

# activations by their values at these points
POINTS = np.linspace(-4.0, 4.0, 33)
# float32 constants in a program leave the values this close; erf and tanh forms of GELU lie 5e-4 apart
CLOSE = 1e-5
_erf, _erfc = np.vectorize(math.erf), np.vectorize(math.erfc)
ACTIVATIONS = {
    "gelu": (
        POINTS * 0.5 * (1 + _erf(POINTS / math.sqrt(2))),
        POINTS * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (POINTS + 0.044715 * POINTS**3))),
    ),
    "silu": (POINTS / (1 + np.exp(-POINTS)),),
}
ELEMENTWISE: dict[str, Callable] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "exp": np.exp,
    "tanh": np.tanh, "erf": _erf, "erfc": _erfc, "square": np.square, "logistic": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip
NORMS = ("layer_norm", "rms_norm")
# of an activation, and of constants around a sum
DEEPEST = 16


class Match(NamedTuple):
    """One pattern: what it reads, and the axes that its rows lie along."""

    kind: str
    values: tuple[Value, ...]
    axes: tuple[int, ...]


class Found(NamedTuple):
    """A pattern and the operations that it is made of."""

    match: Match
    nodes: frozenset[Node]


def found(graph: Graph) -> Iterator[Found]:
    """Every softmax, norm and activation, in order; none stands in another of its kind."""
    taken: set[Node] = set()
    for node in graph.nodes:
        if node.secret < SHARED or node.name not in ("div", "mul", "exp"):
            continue
        for find in (softmax, norm, activation):
            if (match := find(node)) is None:
                continue
            nodes = _between(graph, match.values, node)
            if match.kind in NORMS:
                nodes -= {each for each in nodes if _gain(each, nodes, match.values)}
            if not taken & nodes:
                taken |= nodes
                yield Found(match, nodes)
                break


def softmax(node: Node) -> Match | None:
    """The softmax that ends with this operation."""
    return _of_logarithm(node) if node.name == "exp" else _of_quotient(node)


def _of_quotient(node: Node) -> Match | None:
    for numerator, divisor in _quotients(node):
        top = numerator.through()
        if (made := _sum_of(divisor)) is None or not _is(top, "exp") or not top.whole:
            continue
        summed, axes = made
        inside = summed.through()
        if inside.value is top.value and inside.whole:
            return _softmax(node, top.value.node, axes)
    return None


def _of_logarithm(node: Node) -> Match | None:
    terms = _terms(View.of(node.outputs[0]).child(node.inputs[0]))
    for (view, sign), count in terms.items():
        if (sign, count) != (-1, 1) or not _is(view, "log"):
            continue
        mass = view.child(view.value.node.inputs[0]).through()
        # of a sum of exponentials this is the sum itself
        mass = mass.child(mass.value.node.inputs[0]) if _is(mass, "abs") else mass
        if (made := _sum_of(mass)) is None:
            continue
        summed, axes = made
        inside = summed.through()
        if not _is(inside, "exp") or not inside.whole:
            continue
        if terms - Counter({(view, -1): 1}) == _terms(inside.child(inside.value.node.inputs[0])):
            return _softmax(node, node, axes)
    return None


def _softmax(last: Node, exponential: Node, axes: tuple[int, ...]) -> Match | None:
    terms = _terms(View.of(exponential.outputs[0]).child(exponential.inputs[0]))
    base = [view.value for view, _ in terms if any(view.axes[axis] is not None for axis in axes)]
    if not base or not all(value.shape == last.outputs[0].shape for value in base):
        return None
    return Match("softmax", tuple(base), axes)


def norm(node: Node) -> Match | None:
    """The norm that ends with this operation."""
    if node.name not in ("mul", "div"):
        return None
    factors = list(_factors(View.of(node.outputs[0])))
    for view, power in factors:
        if (view.value.node is None) or (view.value.node.name, power) not in (("rsqrt", 1), ("sqrt", -1)):
            continue
        behind = _without_public(view.child(view.value.node.inputs[0]))
        if (made := _sum_of(behind)) is None:
            continue
        summed, axes = made
        if (squared := _squared(summed.through())) is None or not squared.whole:
            continue
        centered, base = _centered(squared, axes)
        for other, other_power in factors:
            if other_power == 1 and _centered(other, axes)[0] == centered:
                kind = "rms_norm" if base is squared.value else "layer_norm"
                return Match(kind, (base,), axes)
    return None


def activation(node: Node) -> Match | None:
    """The activation that ends with this operation, as a function of one of its factors."""
    if node.name != "mul":
        return None
    for factor in node.inputs:
        base = _without_scale(factor)
        if base.constant is not None or base.shape != node.outputs[0].shape:
            continue
        values = _values(node.outputs[0], base, DEEPEST)
        for kind, curves in ACTIVATIONS.items():
            if values is not None and any(np.abs(values - curve).max() < CLOSE for curve in curves):
                return Match(kind, (base,), ())
    return None


def _gain(node: Node, nodes: frozenset[Node], base: tuple[Value, ...]) -> bool:
    """Whether it multiplies a norm by what is none of it."""
    others = [value for value in node.inputs if value.node not in nodes and value not in base]
    return node.name in ("mul", "div") and any(value.constant is None and value.shape for value in others)


def _is(view: View, name: str) -> bool:
    return view.value.node is not None and view.value.node.name == name


def _quotients(node: Node) -> Iterator[tuple[View, View]]:
    """Numerator and divisor, also where one is multiplied by a reciprocal."""
    whole = View.of(node.outputs[0])
    sides = [whole.child(value) for value in node.inputs]
    if node.name == "div":
        yield sides[0], sides[1]
    elif node.name == "mul":
        for numerator, other in (sides, sides[::-1]):
            other = other.through()
            if _is(other, "div") and other.value.node.inputs[0].constant == 1:
                yield numerator, other.child(other.value.node.inputs[1])
            elif _is(other, "integer_pow") and other.value.node.params["y"] == -1:
                yield numerator, other.child(other.value.node.inputs[0])


def _sum_of(view: View) -> tuple[View, tuple[int, ...]] | None:
    """What was summed, seen in place, and over which axes, if this is a sum that stands where its row does."""
    view = view.through()
    if not _is(view, "reduce_sum"):
        return None
    node = view.value.node
    axes = tuple(int(axis) for axis in node.params["axes"])
    kept = [axis for axis in range(len(node.inputs[0].shape)) if axis not in axes]
    if node.inputs[0].shape != view.shape:
        return None
    # a sum over rows, repeated down columns, is another thing
    for place, axis in enumerate(view.axes):
        if view.shape[place] > 1 and (axis is None) != (place in axes) or axis is not None and kept[axis] != place:
            return None
    return View.of(node.inputs[0]), axes


def _terms(view: View, sign: int = 1, depth: int = DEEPEST) -> Counter:
    """A sum as what it adds, with signs."""
    view = view.through()
    node = view.value.node
    if depth and node is not None and node.name in ("add", "sub", "neg"):
        signs = (sign, -sign) if node.name == "sub" else (-sign,) if node.name == "neg" else (sign, sign)
        total: Counter = Counter()
        for value, each in zip(node.inputs, signs, strict=True):
            total.update(_terms(view.child(value), each, depth - 1))
        return total
    return Counter({(view, sign): 1})


def _factors(view: View, power: int = 1, depth: int = DEEPEST) -> Iterator[tuple[View, int]]:
    """A product as what it multiplies and divides by."""
    view = view.through()
    node = view.value.node
    if depth and node is not None and node.name in ("mul", "div"):
        for value, each in zip(node.inputs, (power, power if node.name == "mul" else -power), strict=True):
            yield from _factors(view.child(value), each, depth - 1)
    else:
        yield view, power


def _without_public(view: View) -> View:
    """What is left of a number once public ones were added to it, and it was multiplied or divided by some."""
    for _ in range(DEEPEST):
        view = view.through()
        node = view.value.node
        if node is None or node.name not in ("add", "mul", "div"):
            break
        rest = [value for value in node.inputs if value.secret > PUBLIC]
        if len(rest) != 1 or node.name == "div" and rest[0] is node.inputs[1]:
            break
        view = view.child(rest[0])
    return view


def _without_scale(value: Value) -> Value:
    while (node := value.node) is not None and node.name in ("mul", "div", "convert_element_type"):
        rest = [each for each in node.inputs if each.constant is None]
        if len(rest) != 1 or node.name == "div" and rest[0] is node.inputs[1]:
            break
        value = rest[0]
    return value


def _squared(view: View) -> View | None:
    node = view.value.node
    if node is None:
        return None
    twice = node.name == "mul" and node.inputs[0] is node.inputs[1]
    if twice or node.name == "square" or node.name == "integer_pow" and node.params["y"] == 2:
        return view.child(node.inputs[0]).through()
    return None


def _centered(view: View, axes: tuple[int, ...]) -> tuple[tuple, Value]:
    """What tells a value from others, and itself, or what its mean over the axes was taken from."""
    view = view.through()
    if _is(view, "sub"):
        left, right = (view.child(value).through() for value in view.value.node.inputs)
        made = _sum_of(_without_public(right))
        if made is not None and made[1] == axes and made[0].through().value is left.value:
            return ("centered", *left.key), left.value
    return view.key, view.value


def _values(value: Value, base: Value, depth: int) -> np.ndarray | None:
    """The values where `base` has those of `POINTS`, if it reads nothing else."""
    if value is base:
        return POINTS
    if value.constant is not None:
        return np.full_like(POINTS, value.constant)
    node = value.node
    if node is None or not depth:
        return None
    inputs = [_values(each, base, depth - 1) for each in node.inputs]
    if any(each is None for each in inputs):
        return None
    if node.name == "convert_element_type":
        return inputs[0]
    if node.name == "integer_pow":
        return inputs[0] ** node.params["y"]
    return ELEMENTWISE[node.name](*inputs) if node.name in ELEMENTWISE else None


def _between(graph: Graph, first: tuple[Value, ...], last: Node) -> frozenset[Node]:
    """The operations on the way from some values to the one that ends with them."""
    starts = set(map(id, first))
    reached, after = set(starts), []
    for node in graph.nodes:
        if any(id(value) in reached for value in node.inputs):
            reached.update(map(id, node.outputs))
            after.append(node)
        if node is last:
            break
    needed = set(map(id, last.outputs))
    held = set()
    for node in reversed(after):
        if any(id(value) in needed for value in node.outputs):
            held.add(node)
            needed.update(id(value) for value in node.inputs if id(value) not in starts)
    return frozenset(held)
