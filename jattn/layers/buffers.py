"""The kind of variable for arrays that are kept but not learned, how a module holds a part's arrays, and their axes."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from jattn.layers.axes import NAMES
from jattn.part import Variables


class Buffer(nnx.Variable):
    """An array that is saved and sharded like a weight, and neither learned nor decayed; integers too."""


def hold(variables: Variables, axes: Mapping[str, Any] = {}) -> nnx.Dict:
    """A part's arrays as NNX variables, nested by name: params as `nnx.Param`, buffers as `Buffer`.

    `axes` names the axes of the large ones, nested in the same way.
    """
    held = nnx.Dict()
    for kind, tree in ((nnx.Param, variables.params), (Buffer, variables.buffers)):
        _fill(held, tree, kind, axes)
    return held


def arrays(held: nnx.Dict) -> Variables:
    """The plain arrays behind `hold`; empty branches are left out."""
    params, buffers = {}, {}
    for name, entry in held.items():
        if isinstance(entry, nnx.Dict):
            inner = arrays(entry)
            params |= {name: inner.params} if inner.params else {}
            buffers |= {name: inner.buffers} if inner.buffers else {}
        # nnx.capture leaves a note of its own in every container
        elif isinstance(entry, nnx.Variable):
            (buffers if isinstance(entry, Buffer) else params)[name] = entry[...]
    return Variables(params, buffers)


def renew(held: nnx.Dict, buffers: dict) -> None:
    """Puts new values into the buffers of `held`."""
    for name, value in buffers.items():
        if isinstance(value, dict):
            renew(held[name], value)
        else:
            held[name][...] = value


def named(state: nnx.State) -> dict:
    """Nested by name, the names of the axes of each variable, one for each axis."""

    def names(variable: nnx.Variable) -> tuple[str | None, ...]:
        last = variable.get_metadata().get(NAMES, ())
        return (None,) * (variable.get_value().ndim - len(last)) + last

    return nnx.to_pure_dict(state, extract_fn=names)


def _fill(held: nnx.Dict, tree: dict, kind: type, axes: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            if name not in held:
                held[name] = nnx.Dict()
            _fill(held[name], value, kind, axes.get(name, {}))
        else:
            held[name] = kind(value, **{NAMES: axes.get(name, ())})
