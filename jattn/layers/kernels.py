"""Which arrays of a model are kernels of linear maps, and of which matrix each is made.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, section 3.2 (every linear map, embeddings left as they are).
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.axes import NAMES

Path = tuple[Any, ...]


class Kernel(NamedTuple):
    """An array whose axes are those of several maps, then those of the inputs, then those of the outputs.

    `maps` says how many are in front, `inputs` how many come next, `order` where each of all lies in the array.
    """

    variable: nnx.Variable
    maps: int
    inputs: int
    order: tuple[int, ...]

    def matrix(self) -> Float[Array, "*l n f"]:
        """One matrix a map, in at least float32."""
        array = self.variable[...]
        apart = array.transpose(self.order)
        lead, rest = apart.shape[: self.maps], apart.shape[self.maps :]
        sizes = math.prod(rest[: self.inputs]), math.prod(rest[self.inputs :])
        return apart.reshape(*lead, *sizes).astype(jnp.promote_types(array.dtype, jnp.float32))

    def array(self, matrix: Float[Array, "*l n f"]) -> Array:
        """The array that has such a matrix."""
        shape = self.variable[...].shape
        back = sorted(range(len(shape)), key=self.order.__getitem__)
        return matrix.reshape([shape[axis] for axis in self.order]).transpose(back)


def kernels(model: nnx.Module) -> dict[Path, Kernel]:
    """Every kernel of a model by its path: of our layers by the names of its axes, of Flax's by what the layer says.

    Of another layer, an `nnx.Param` called "kernel" whose last axis is its outputs.
    """
    layers = dict(nnx.iter_modules(model))
    flat = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    found = {path: _kernel(path, variable, layers.get(path[:-1])) for path, variable in flat.items()}
    return {path: kernel for path, kernel in found.items() if kernel is not None}


def _kernel(path: Path, variable: nnx.Variable, layer: nnx.Module | None) -> Kernel | None:
    names, rank = variable.get_metadata().get(NAMES), variable[...].ndim
    if names is not None:
        # from features to others
        mapped = len(names) > 1 and names[0] != "vocabulary"
        return _plain(variable, len(names) - 1, 1) if mapped else None
    if path[-1] != "kernel" or rank < 2:
        return None
    if isinstance(layer, nnx.LinearGeneral):
        # many heads are the outputs of one map, or its inputs
        return _plain(variable, len(layer.in_features), len(layer.out_features))
    # a rule that comes with the call is not known yet
    if isinstance(layer, nnx.Einsum) and (words := layer.einsum_str) and "." not in words.partition(",")[2]:
        return _of_einsum(variable, words)
    if isinstance(layer, nnx.Linear):
        return _plain(variable, 1, 1)
    if isinstance(layer, nnx.Conv | nnx.ConvTranspose):
        # inputs of all taps
        return _plain(variable, len(layer.kernel_size) + 1, 1)
    return _plain(variable, rank - 1, 1)


def _plain(variable: nnx.Variable, inputs: int, outputs: int) -> Kernel:
    rank = variable[...].ndim
    return Kernel(variable, rank - inputs - outputs, inputs, tuple(range(rank)))


def _of_einsum(variable: nnx.Variable, words: str) -> Kernel:
    given, _, rest = words.partition(",")
    kernel, _, made = rest.partition("->")
    stacked = variable[...].ndim - len(kernel)
    kinds: list[list[int]] = [list(range(stacked)), [], []]
    for place, letter in enumerate(kernel):
        # on all three a letter counts maps; one that is summed over is an input
        kind = 2 if letter not in given and letter in made else 0 if letter in given and letter in made else 1
        kinds[kind].append(stacked + place)
    return Kernel(variable, len(kinds[0]), len(kinds[1]), tuple(sum(kinds, [])))
