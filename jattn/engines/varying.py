"""Arrays inside `jax.shard_map`, whose types say over which axes of the mesh they differ from device to device.

A loop is to begin with arrays of the types that it ends with, and a derivative by hand to give the types it was given.
"""

from typing import Any

import jax
from jax import lax


def axes(tree: Any) -> frozenset[str]:
    """The mesh axes over which arrays of a tree differ; none where `check_vma` is False."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return frozenset().union(*(jax.typeof(array).manual_axis_type.varying for array in arrays))


def alike(tree: Any, like: Any) -> Any:
    """The arrays of a tree as ones that differ over all axes over which those of `like` do; NumPy as it is."""
    wanted = axes(like)

    def cast(leaf: Any) -> Any:
        missing = tuple(sorted(wanted - axes(leaf))) if isinstance(leaf, jax.Array) else ()
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree)
