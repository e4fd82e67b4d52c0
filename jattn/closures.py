"""Plain functions as static parts of a call: the arrays that they close over become arguments.

A function with a derivative of its own may not close over traced arrays, and would not differentiate in them.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

# where a pair lies, as plain functions are told
PLACE = {name: jnp.int32 for name in ("batch", "head", "query", "key")}


class Closed(NamedTuple):
    """A function of scalars without what it closes over; equal where code and text are.

    Not the function itself: written in place, it is another one at every call.
    """

    code: Any
    text: str
    jaxpr: "Jaxpr"

    def fresh(self) -> dict:
        """Zeros in the place of what it closed over."""
        variables = self.jaxpr.jaxpr.constvars
        return {str(number): jnp.zeros(x.aval.shape, x.aval.dtype) for number, x in enumerate(variables)}

    def __call__(self, arrays: dict, *scalars: ArrayLike) -> Array:
        """Its value where it closes over these arrays, as `closed` numbered them."""
        held = [arrays[str(number)] for number in range(len(arrays))]
        return jaxpr_as_fun(ClosedJaxpr(self.jaxpr.jaxpr, held))(*scalars)[0]


class Jaxpr:
    """Keeps a jaxpr out of comparisons: two traces of one function are never the same object."""

    def __init__(self, jaxpr: Any):
        self.jaxpr = jaxpr

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Jaxpr)

    def __hash__(self) -> int:
        return 0


def closed(function: Callable, arguments: dict[str, DTypeLike]) -> tuple[Closed, dict, jax.ShapeDtypeStruct]:
    """A function of scalars, given by name and dtype; what it closes over by number, and what it returns.

    Raises TypeError for a function that takes another number of them.
    """
    scalars = [jax.ShapeDtypeStruct((), dtype) for dtype in arguments.values()]
    signature = inspect.signature(function)
    try:
        signature.bind(*scalars)
    except TypeError:
        raise TypeError(
            f"A function of one pair takes ({', '.join(arguments)}), got {named(function)}{signature}; give it all of "
            f"these arguments."
        ) from None
    # a function of its own each time: JAX would remember the arrays that this one closed over the first time
    traced, shape = jax.make_jaxpr(lambda *values: function(*values), return_shape=True)(*scalars)
    arrays = {str(number): array for number, array in enumerate(traced.consts)}
    return Closed(getattr(function, "__code__", function), str(traced.jaxpr), Jaxpr(traced.jaxpr)), arrays, shape


def named(function: Callable) -> str:
    """What a reader calls it."""
    return getattr(function, "__qualname__", repr(function)).split("<locals>.")[-1]


def shown(out: Any) -> str:
    """What a function returned, for a sentence."""
    return f"{out.dtype} of shape {out.shape}" if isinstance(out, jax.ShapeDtypeStruct) else repr(out)
