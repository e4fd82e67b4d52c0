"""A jaxpr as one graph of values, with its calls opened and equal operations shared; what is secret is marked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend import core

# who sees a value: all, one party that can compute on it alone, or none
PUBLIC, OWNED, SHARED = range(3)
# operations whose bodies run several times, or one of several
BODIES = ("scan", "while", "cond", "shard_map")
# what only calls, of operations that hold a jaxpr; others, as kernels, do more with it
CALLS = (
    "jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
    "checkpoint", "remat", "remat2",
)  # fmt: skip
# what gives back its first input, in another shape at most
SAME = (
    "convert_element_type", "copy", "copy_p", "stop_gradient", "reduce_precision", "sharding_constraint", "name",
    "pvary",
)  # fmt: skip


class Value:
    """One array: its shape, who sees it, the operation that made it, its number where all entries are one number."""

    __slots__ = ("constant", "node", "secret", "shape")

    def __init__(self, shape: tuple[int, ...], secret: int, node: "Node | None" = None, constant: Any = None):
        self.shape, self.secret, self.node, self.constant = shape, secret, node, constant


class Node:
    """One operation."""

    __slots__ = ("inputs", "name", "outputs", "params")

    def __init__(self, name: str, params: dict, inputs: Sequence[Value]):
        self.name, self.params, self.inputs = name, params, tuple(inputs)
        self.outputs: tuple[Value, ...] = ()

    @property
    def secret(self) -> int:
        """Who sees what it gives: those who see all that it reads."""
        return max((value.secret for value in self.inputs), default=PUBLIC)


class Graph(NamedTuple):
    """Operations in order, and what the jaxpr gives back."""

    nodes: list[Node]
    outputs: list[Value]


class View(NamedTuple):
    """A value as an array of another shape sees it: for each axis the value's own, None where it is repeated."""

    value: Value
    axes: tuple[int | None, ...]
    shape: tuple[int, ...]

    @staticmethod
    def of(value: Value) -> "View":
        """A value as it is."""
        return View(value, tuple(n if size > 1 else None for n, size in enumerate(value.shape)), value.shape)

    def child(self, value: Value, own: Callable[[int], int | None] = lambda axis: axis) -> "View":
        """An input of the operation that made this value; `own` says which of its axes each axis of the value is."""
        found = (None if axis is None else own(axis) for axis in self.axes)
        # arrays of rank 0 and axes of size 1 serve every place
        sized = (axis if axis is not None and value.shape and value.shape[axis] > 1 else None for axis in found)
        return View(value, tuple(sized), self.shape)

    @property
    def whole(self) -> bool:
        """Whether every axis is the value's axis of that place."""
        return all(axis == n for n, axis in enumerate(self.axes) if self.shape[n] > 1)

    @property
    def repeated(self) -> bool:
        """Whether some axis holds the same numbers again and again."""
        return any(axis is None and size > 1 for axis, size in zip(self.axes, self.shape, strict=True))

    @property
    def key(self) -> tuple:
        """Equal for equal arrays."""
        return id(self.value), self.axes

    def through(self) -> "View":
        """What stands behind changes of shape and type, and behind guards: selects between it and a constant.

        A guard is looked through where a public mask decides, or where it holds for a row as a whole.
        """
        here = self
        while (behind := here._behind()) is not None:
            here = behind
        return here

    def _behind(self) -> "View | None":
        node = self.value.node
        if node is None:
            return None
        if node.name in SAME:
            return self.child(node.inputs[0])
        if node.name == "broadcast_in_dim":
            order = [int(axis) for axis in node.params["broadcast_dimensions"]]
            return self.child(node.inputs[0], lambda axis: order.index(axis) if axis in order else None)
        if node.name == "transpose":
            return self.child(node.inputs[0], lambda axis: node.params["permutation"][axis])
        if node.name in ("reshape", "squeeze", "expand_dims"):
            inner, outer = (_sized(shape) for shape in (node.inputs[0].shape, self.value.shape))
            if [size for _, size in inner] != [size for _, size in outer]:
                return None
            places = {axis: own for (axis, _), (own, _) in zip(outer, inner, strict=True)}
            return self.child(node.inputs[0], places.get)
        if node.name == "select_n" and len(node.inputs) == 3 and (not node.inputs[0].secret or self.repeated):
            cases = [case for case in node.inputs[1:] if case.constant is None]
            return self.child(cases[0]) if len(cases) == 1 else None
        if node.name in ("add", "add_any", "sub"):
            # Flax centers the rows of an RMS norm at 0
            rest = [value for value in node.inputs[node.name == "sub" :] if value.constant == 0]
            return self.child(next(value for value in node.inputs if value is not rest[0])) if rest else None
        if node.name in ("max", "min"):
            rest = [value for value in node.inputs if value.constant is None or not np.isinf(value.constant)]
            return self.child(rest[0]) if len(rest) == 1 else None
        return None


def _sized(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(axis, size) for axis, size in enumerate(shape) if size > 1]


def graph(closed: core.ClosedJaxpr, secret: Sequence[int], body: Callable[[Node], Sequence[int]]) -> Graph:
    """The graph of a jaxpr whose inputs are so `secret`; `body` says how secret the outputs of a loop or branch are."""
    made = _Maker(body)
    inputs = [Value(variable.aval.shape, held) for variable, held in zip(closed.jaxpr.invars, secret, strict=True)]
    return Graph(made.nodes, made.run(closed, inputs))


class _Maker:
    def __init__(self, body: Callable[[Node], Sequence[int]]):
        self.body = body
        self.nodes: list[Node] = []
        self.known: dict[tuple, Node] = {}
        self.literals: dict[tuple, tuple[Value, Any]] = {}

    def run(self, closed: core.ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
        jaxpr = closed.jaxpr
        where = dict(zip(jaxpr.invars, inputs, strict=True))
        where |= {variable: self.literal(held) for variable, held in zip(jaxpr.constvars, closed.consts, strict=True)}

        def read(atom: Any) -> Value:
            return self.literal(atom.val) if isinstance(atom, core.Literal) else where[atom]

        for equation in jaxpr.eqns:
            given = [read(atom) for atom in equation.invars]
            inner = called(equation)
            found = self.run(inner, given) if inner is not None else self.node(equation, given)
            where |= dict(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def literal(self, held: Any) -> Value:
        shape, dtype = tuple(np.shape(held)), jnp.result_type(held)
        one = np.size(held) == 1 and jnp.issubdtype(dtype, jnp.number)
        constant = np.asarray(held).item() if one else None
        key = (shape, str(dtype), constant if one else id(held))
        # the array is kept beside its value, so that no other can take its id
        return self.literals.setdefault(key, (Value(shape, PUBLIC, constant=constant), held))[0]

    def node(self, equation: Any, given: list[Value]) -> tuple[Value, ...]:
        name = equation.primitive.name
        key = None
        if name not in BODIES:
            key = (name, tuple(map(id, given)), tuple(sorted((k, repr(v)) for k, v in equation.params.items())))
            if key in self.known:
                return self.known[key].outputs
        node = Node(name, equation.params, given)
        secret = self.body(node) if name in BODIES else [node.secret] * len(equation.outvars)
        # an array filled with one number is that number
        constant = given[0].constant if given and name in (*SAME, "broadcast_in_dim", "reshape") else None
        shapes = (variable.aval.shape for variable in equation.outvars)
        node.outputs = tuple(Value(shape, held, node, constant) for shape, held in zip(shapes, secret, strict=True))
        self.nodes.append(node)
        if key is not None:
            self.known[key] = node
        return node.outputs


def called(equation: Any) -> core.ClosedJaxpr | None:
    """The jaxpr that an operation does no more than call, whatever rules of differentiation it adds."""
    if equation.primitive.name not in CALLS:
        return None
    held = [param for param in equation.params.values() if isinstance(param, core.Jaxpr | core.ClosedJaxpr)]
    return closed(held[0]) if len(held) == 1 else None


def closed(jaxpr: Any) -> core.ClosedJaxpr:
    """With constants, of which an open jaxpr has none."""
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())
