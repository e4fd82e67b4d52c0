"""Tells apart what a model learns: matrices of its layers, its head, and the rest."""

import math
from collections.abc import Iterable

import jax
from jaxtyping import Array, Float

MATRIX, HEAD, REST = "matrix", "head", "rest"
# arrays of projections and feed-forward layers by their last name, with the number of axes that a layer's input takes
MATRICES = {"query": 1, "key": 1, "value": 1, "out": 2, "up": 1, "gate": 1, "down": 1}
# the stack's repeated blocks lie along a leading axis, one entry a layer
STACKED = "repeat"


def names(path: Iterable) -> tuple[str, ...]:
    """A path of `jax.tree_util` as names."""
    return tuple(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def kind(path: Iterable, array: Array) -> str:
    """Matrices of layers are known by name, so that an array that a part learns is never taken for one."""
    named = names(path)
    if named[0] == "head":
        return HEAD if array.ndim > 1 else REST
    known = named[-1] in MATRICES and array.ndim - (STACKED in named) >= 2
    return MATRIX if known and not {"attention", "embedding"} & set(named) else REST


def labels(params: dict) -> dict:
    """The kind of every array, in a tree like the params."""
    return jax.tree_util.tree_map_with_path(kind, params)


def matrices(path: Iterable, array: Float[Array, "..."]) -> list[Float[Array, "m f"]]:
    """One matrix a layer, inputs by outputs: heads and their width count as one axis."""
    named = names(path)
    inputs = MATRICES[named[-1]]
    layers = list(array) if STACKED in named else [array]
    return [layer.reshape(math.prod(layer.shape[:inputs]), -1) for layer in layers]


def restored(found: list[Float[Array, "m f"]], like: Float[Array, "..."]) -> Float[Array, "..."]:
    """The matrices back in the array's shape."""
    return jax.numpy.stack(found).reshape(like.shape)
