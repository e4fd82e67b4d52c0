"""Tells apart what a model learns: matrices of its layers, its head, and the rest."""

from collections.abc import Iterable

import jax
from jaxtyping import Array, Float

MATRIX, HEAD, REST = "matrix", "head", "rest"
# where layers hold kernels, inputs by outputs
KERNELS = {"projecting", "feedforward"}
# what parts of attention learn, and what a recurrence does channel by channel, which no rule fits
PARTS = {"attending", "recurrence"}
# in a head's projections these are vectors for every head, not kernels
VECTORS = {"gain", "scale", "bias", "offset"}
# the repeated blocks of a stack lie along a leading axis, one entry a layer
STACKED = "repeat"


def names(path: Iterable) -> tuple[str, ...]:
    """A path of `jax.tree_util` as names."""
    return tuple(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def kind(path: Iterable, array: Float[Array, "..."]) -> str:
    """Matrices are the two-axis arrays in projections and feed-forward layers."""
    named = names(path)
    if named[0] == "head":
        return HEAD if array.ndim > 1 else REST
    axes, within = array.ndim - (STACKED in named), set(named)
    return MATRIX if axes == 2 and KERNELS & within and not PARTS & within and named[-1] not in VECTORS else REST


def labels(params: dict) -> dict:
    """The kind of every array, in a tree like the params."""
    return jax.tree_util.tree_map_with_path(kind, params)


def matrices(array: Float[Array, "*l m f"]) -> list[Float[Array, "m f"]]:
    """One matrix a layer."""
    return [array] if array.ndim == 2 else list(array)


def restored(found: list[Float[Array, "m f"]], like: Float[Array, "*l m f"]) -> Float[Array, "*l m f"]:
    """The matrices back in the array's shape."""
    return found[0] if like.ndim == 2 else jax.numpy.stack(found)
