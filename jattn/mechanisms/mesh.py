"""Attention on a mesh of devices: each attends for its examples, heads and tokens, which know their true numbers."""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Float

from jattn.engines import varying
from jattn.mechanisms import Layout, Mechanism
from jattn.part import Attended, Rng, Stats, Variables

Over = tuple[str, ...]


class Cut(NamedTuple):
    """Which axes of a mesh split the examples, by batch axis, the heads, and the tokens; those no entry names stay."""

    mesh: Mesh | AbstractMesh
    batch: tuple[Over, ...]
    heads: Over
    time: Over


def check_closures(own: dict, held: dict) -> None:
    """Refuses arrays of an Explicit mesh that plain functions close over, which `held` has beside `own`.

    JAX takes none into `jax.shard_map`.
    """
    explicit = of_type(jax.sharding.get_abstract_mesh(), AxisType.Explicit)
    given = {id(leaf) for leaf in jax.tree.leaves(own)}
    closed_over = [leaf for leaf in jax.tree.leaves(held) if id(leaf) not in given]
    if explicit and any(not jax.typeof(leaf).sharding.mesh.empty for leaf in closed_over):
        raise ValueError(
            f"A plain function closes over no array of a mesh with Explicit axes, got {len(closed_over)} and the axes "
            f"{sorted(explicit)}; make it a part with params, or call inside jax.shard_map with the array as argument."
        )


def untyped() -> contextlib.AbstractContextManager:
    """In its body what is traced notes no mesh, so that it serves inside a `jax.shard_map` too."""
    return jax.sharding.use_abstract_mesh(AbstractMesh((), ()))


def cut_of(query: Float[Array, "*b t h d"], axis: str | None) -> Cut | None:
    """What is still to be split for a call: tokens over `axis`, examples and heads where the query's type says so.

    None for nothing, as inside a `jax.shard_map`. Raises ValueError for an axis that the mesh lacks, and for tokens
    over another one.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if axis is not None and axis not in mesh.axis_names:
        raise ValueError(
            f"Attention.context_axis names an axis of the mesh, got {axis!r} and a mesh of the axes "
            f"{list(mesh.axis_names)}; call inside jax.set_mesh(mesh) or jax.shard_map."
        )
    *batch, time, heads, _ = (_names(entry) for entry in jax.typeof(query).sharding.spec)
    if others := set(time) - {axis}:
        raise ValueError(
            f"Tokens are split over the axis that Attention.context_axis names and no other, got {sorted(others)} and "
            f"context_axis={axis!r}; name that axis, or jax.sharding.reshard the query."
        )
    cut = Cut(mesh, tuple(batch), heads, () if axis is None or axis in mesh.manual_axes else (axis,))
    return cut if any((*cut.batch, cut.heads, cut.time)) else None


def attend(
    run: Callable,
    attention: Mechanism,
    vectors: tuple[Float[Array, "*b t h d"], Float[Array, "*b s g d"], Float[Array, "*b s j e"]],
    own: dict,
    rng: Array | Rng | None,
    layout: Layout,
    cut: Cut,
) -> Attended:
    """`run(query, key, value, attention, variables=, rng=, layout=)` on each device for its part of the arrays.

    `attention` is closed: `own` holds what its plain functions close over too. Raises ValueError for what the mesh does
    not divide.
    """
    query, key, value = vectors
    batch, heads = query.shape[:-3], query.shape[-2]
    for size, over in zip(batch, cut.batch, strict=True):
        check_divides("examples", size, over, cut.mesh)
    for kind, side in (("heads", query), ("key heads", key), ("value heads", value)):
        check_divides(kind, side.shape[-2], cut.heads, cut.mesh)
    for side in (query, key):
        check_divides("tokens", side.shape[-3], cut.time, cut.mesh)
    over_batch, over_heads, over_time = (
        [over or None for over in cut.batch], cut.heads or None, cut.time or None,
    )  # fmt: skip
    whole, examples = PartitionSpec(), PartitionSpec(*over_batch)

    def tokens(array: Array) -> PartitionSpec:
        """The spec of one value a token: "n" or "*b n"."""
        return PartitionSpec(*(over_batch if jnp.ndim(array) > len(batch) else ()), over_time)

    def valid(array: Array) -> PartitionSpec:
        """The spec of what is valid: of tokens, or a number, of all or for each example."""
        if jnp.issubdtype(jnp.result_type(array), jnp.integer):
            return examples if jnp.ndim(array) else whole
        return tokens(array)

    def pairs(array: Array | None) -> PartitionSpec | None:
        """The spec of a mask or a bias "*b #h #t #s"."""
        if array is None:
            return None
        lead = over_batch if array.ndim == len(batch) + 3 else ()
        over = (over_heads if array.shape[-3] > 1 else None), (over_time if array.shape[-2] > 1 else None)
        return PartitionSpec(*lead, *over)

    of_vectors, each_token = PartitionSpec(*over_batch, over_time, over_heads), PartitionSpec(*over_batch, over_time)
    data = {
        "positions": jax.tree.map(tokens, layout.positions),
        "segments": jax.tree.map(tokens, layout.segments),
        "valid": jax.tree.map(valid, layout.valid),
        "mask": pairs(layout.mask),
        "bias": pairs(layout.bias),
        "extra": jax.tree.map(lambda _: each_token, layout.extra),
    }
    held = {name: getattr(layout, name) for name in data}
    numbers, *counts = layout.head or (np.arange(heads), heads, key.shape[-2])
    example = np.arange(math.prod(batch)).reshape(batch) if layout.example is None else layout.example
    given = (*vectors, own, _keys(rng, batch), held, jnp.asarray(layout.layer), jnp.asarray(example))
    specs = (
        *(of_vectors,) * 3, jax.tree.map(lambda _: whole, own),
        None if rng is None else Rng(whole, whole, examples), data, whole, examples,
    )  # fmt: skip
    if cut.heads or isinstance(numbers, jax.Array):
        given, specs, numbers = (*given, jnp.asarray(numbers)), (*specs, PartitionSpec(cut.heads or None)), None
    else:
        # known when traced where no axis splits them
        numbers = tuple(numbers.tolist())
    if explicit := of_type(cut.mesh, AxisType.Explicit):
        given = jax.tree.map(lambda x, spec: jax.sharding.reshard(x, kept(spec, explicit)), given, specs)
    check_outside(given)
    specs, tree = jax.tree.flatten(specs)
    known = _Known(run, attention, cut, tree, tuple(specs), (numbers, *counts))
    return _split(known, *jax.tree.leaves(given))


class _Known(NamedTuple):
    """What a call is compiled for beside the shapes of its arrays: how these make a tree, and how each is split.

    The numbers of heads are None where they come as the last array.
    """

    run: Callable
    attention: Mechanism
    cut: Cut
    tree: Any
    specs: tuple[PartitionSpec, ...]
    head: tuple


# compiled, since outside of jit a shard_map leaves no axis to the compiler; and once for all equal calls
@functools.partial(jax.jit, static_argnums=0)
def _split(known: _Known, *leaves: Array) -> Attended:
    def here(*leaves):
        query, key, value, own, rng, held, layer, example, *mine = jax.tree.unflatten(known.tree, leaves)
        if rng is not None and (lead := example.ndim):
            rng = rng._replace(example=rng.example.reshape(example.size, *rng.example.shape[lead:]))
        numbers, *counts = known.head
        head = (mine[0] if mine else np.array(numbers), *counts)
        layout = Layout(**held, layer=layer, head=head, example=example)
        found = known.run(query, key, value, known.attention, variables=Variables(own, {}), rng=rng, layout=layout)
        # each device notes its own examples, heads and tokens
        seen = jax.tree.map(lambda x: lax.psum(x, names), found.stats.observed)
        return found._replace(stats=found.stats._replace(observed=seen))

    of_vectors, over = known.specs[0], (*known.cut.batch, known.cut.heads, known.cut.time)
    names = tuple(dict.fromkeys(name for each in over for name in each))
    return jax.shard_map(
        here,
        mesh=known.cut.mesh,
        in_specs=known.specs,
        out_specs=Attended(of_vectors, Stats(*(of_vectors,) * 4, PartitionSpec())),
        axis_names=set(names),
        # a part's own loops may carry what no type says to be split
        check_vma=False,
    )(*leaves)


def check_outside(given: Any) -> None:
    """Refuses arrays inside a `jax.shard_map` that a second one could not take."""
    if within := varying.axes(given):
        raise ValueError(
            f"Inside a jax.shard_map that checks what varies attention enters no second one, got {sorted(within)} of "
            f"the first; give that one all axes of the mesh, or check_vma=False."
        )


def check_divides(what: str, size: int, over: Over, mesh: Mesh | AbstractMesh) -> None:
    """Refuses a number of things that the axes of a mesh that split them do not divide."""
    parts = math.prod(mesh.shape[axis] for axis in over)
    if size % parts:
        fits = [str(n) for n in range(1, parts) if size % n == 0 and parts % n == 0]
        raise ValueError(
            f"The mesh splits {what} into {parts} parts, by {' and '.join(over)}, got {size}; use a multiple of "
            f"{parts}, or {' or '.join(fits)} devices there."
        )


def _keys(rng: Array | Rng | None, batch: tuple[int, ...]) -> Rng | None:
    """The three keys, the last of them one for each example."""
    if rng is None:
        return None
    if not isinstance(rng, Rng):
        size = math.prod(batch)
        rng = Rng(
            rng,
            rng,
            jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(size)) if batch else jax.random.fold_in(rng, 0),
        )
    return rng._replace(example=rng.example.reshape(*batch, *rng.example.shape[1:])) if batch else rng


def _names(entry: Any) -> Over:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


def of_type(mesh: Mesh | AbstractMesh, kind: AxisType) -> set[str]:
    """The axes of a mesh that are of that type."""
    return {name for name, its in zip(mesh.axis_names, mesh.axis_types, strict=True) if its == kind}


def kept(spec: PartitionSpec, axes: set[str]) -> PartitionSpec:
    """The spec without other axes."""
    return PartitionSpec(*(tuple(name for name in _names(entry) if name in axes) for entry in spec))
