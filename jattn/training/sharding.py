"""How a run's arrays lie on several devices: the mesh, and the one place that maps names of axes to mesh axes.

Source: Zhao et al., "PyTorch FSDP", VLDB 2023, arXiv:2304.11277, section 3 (weights split over those that split the
batch); Shoeybi et al., "Megatron-LM", 2019, arXiv:1909.08053, section 3 (heads and hidden features split).
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jax.sharding import Mesh as DeviceMesh

from jattn.layers.axes import Axes
from jattn.part import part

# activations: examples, tokens, heads inside attention; weights: the features of a layer, hidden ones, heads, words
RULES = (
    ("batch", ("data", "fsdp")),
    ("time", ("context",)),
    ("heads", ("tensor",)),
    ("key_heads", ("tensor",)),
    ("hidden", ("tensor",)),
    ("vocabulary", ("tensor",)),
    ("width", ("fsdp",)),
)
# devices that are not at hand, where a run is planned for such
_ELSEWHERE: ContextVar[tuple[jax.Device, ...]] = ContextVar("elsewhere", default=())


@part
class Mesh:
    """Devices by axis: `data` splits the batch, `fsdp` the batch and the weights, `tensor` heads and hidden features,
    `context` the tokens of an example.

    -1, for one axis at most, takes the devices that the others leave.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1

    def __post_init__(self):
        sizes = self.sizes()
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1 and size != -1:
                raise ValueError(
                    f"Mesh.{name} must be a number of devices, or -1 for those left, got {size!r}; 1 splits nothing."
                )
        if (left := [name for name, size in sizes.items() if size == -1])[1:]:
            raise ValueError(f"Mesh takes -1 for one axis at most, got it for {' and '.join(left)}; give all but one.")

    def sizes(self) -> dict[str, int]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def over(self, count: int) -> dict[str, int]:
        """The sizes on so many devices; raises ValueError where their product does not divide that."""
        sizes = self.sizes()
        fixed = math.prod(size for size in sizes.values() if size != -1)
        if count % fixed:
            words = ", ".join(f"--mesh.{name} {size}" for name, size in sizes.items())
            cure = "-1 for one axis takes those that the others leave"
            if count == 1:
                flag = f"--xla_force_host_platform_device_count={fixed}"
                cure = f"leave them out, or simulate {fixed} by XLA_FLAGS={flag}"
            raise ValueError(
                f"A mesh's sizes must multiply to a number that divides the {count} devices at hand, got {words}; "
                f"{cure}."
            )
        return {name: count // fixed if size == -1 else size for name, size in sizes.items()}


@contextlib.contextmanager
def over(devices: Sequence[jax.Device]) -> Iterator[None]:
    """In its body runs are spread over these devices, which need not be here: programs for them compile, none runs."""
    token = _ELSEWHERE.set(tuple(devices))
    try:
        # what is traced asks for the platform by this one
        with jax.default_device(devices[0]):
            yield
    finally:
        _ELSEWHERE.reset(token)


def axes(mesh: Mesh) -> Axes | None:
    """The first devices at hand as a mesh, and the rules; None where one device is asked for."""
    return _axes(mesh, _ELSEWHERE.get() or tuple(jax.devices()))


@functools.cache
def _axes(mesh: Mesh, devices: tuple[jax.Device, ...]) -> Axes | None:
    sizes = mesh.over(len(devices))
    if (count := math.prod(sizes.values())) == 1:
        return None
    # Auto: the compiler's partitioner places what no name does
    types = (AxisType.Auto,) * len(sizes)
    # neighbors on an axis are neighbors on the chips' torus, an axis of which may be split
    placed = mesh_utils.create_device_mesh(tuple(sizes.values()), devices[:count], allow_split_physical_axes=True)
    return Axes(DeviceMesh(placed, tuple(sizes), axis_types=types), RULES)


def spare(mesh: Mesh) -> str | None:
    """A sentence where a mesh leaves devices at hand unused."""
    count = len(jax.devices())
    used = math.prod(mesh.over(count).values())
    return None if used == count else f"uses {used} of {count} devices; --mesh.data -1 takes all"


def anywhere(sizes: Mapping[str, int]) -> Axes:
    """A mesh of no devices, whose axes have these sizes, and the rules: what an array takes on each device it tells."""
    return Axes(AbstractMesh(tuple(sizes.values()), tuple(sizes)), RULES)


def check_batch(axes: Axes, batch: int, pieces: int) -> None:
    """Refuses a batch that, or whose equal pieces, the mesh does not divide."""
    parts = axes.parts("batch")
    if batch % (pieces * parts):
        least = pieces * parts * max(1, round(batch / (pieces * parts)))
        many = f" in {pieces} pieces" if pieces > 1 else ""
        raise ValueError(
            f"Run.batch must be a multiple of the {parts} parts into which --mesh.data and --mesh.fsdp split it, got "
            f"{batch} windows{many}; use --batch {least}."
        )


def placed(axes: Axes, names: Any, shapes: Any) -> Any:
    """The sharding of each array of a tree by the names of its axes; raises ValueError where a size does not divide."""

    def one(path: Any, names: tuple[str | None, ...], shape: jax.ShapeDtypeStruct) -> NamedSharding:
        for name, size in zip(names, shape.shape, strict=True):
            if size % (parts := axes.parts(name)):
                raise ValueError(
                    f"The mesh splits {name} into {parts} parts, got {size} in {jax.tree_util.keystr(path)}; use a "
                    f"multiple of {parts}, or fewer devices on the axis {' and '.join(axes.over(name))}."
                )
        return axes.sharding(*names)

    return jax.tree_util.tree_map_with_path(one, names, shapes, is_leaf=lambda x: isinstance(x, tuple))


def put(array: np.ndarray, place: Sharding) -> jax.Array:
    """An array that each host holds whole, where it is to lie; of several hosts each gives its devices their parts."""
    return jax.make_array_from_callback(array.shape, place, array.__getitem__)


def alone() -> SingleDeviceSharding:
    """On the first device at hand."""
    return SingleDeviceSharding((_ELSEWHERE.get() or jax.local_devices())[0])


def whole(axes: Axes) -> NamedSharding:
    """On every device."""
    return NamedSharding(axes.mesh, PartitionSpec())


def like_weights(optimizer_state: Any, params: Any, weights: Any, axes: Axes) -> Any:
    """The shardings of an optimizer's state: what it keeps for a weight lies as the weight does, the rest everywhere.

    A leaf belongs to the weight whose path its own ends in, if both have one shape.
    """
    leaves = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(weights), strict=True)
    known = {path: (leaf.shape, sharding) for (path, leaf), sharding in leaves}

    def one(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        for start in range(len(path)):
            shape, sharding = known.get(path[start:], (None, None))
            if shape == leaf.shape:
                return sharding
        return whole(axes)

    return jax.tree_util.tree_map_with_path(one, optimizer_state)
