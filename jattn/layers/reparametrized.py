"""The arrays beside the kernels of a model, and the model with the kernels that they make.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, section 3.2 (every linear map, embeddings left as they are).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jattn.layers.buffers import arrays, hold, renew
from jattn.layers.kernels import Kernel, Path, kernels
from jattn.layers.reparametrizations import Reparametrization
from jattn.part import Variables

# deviation of kernels drawn where a model starts with zeros, which have no norm
DEVIATION = 0.02
JOINT = {"none": (), "qk": ("query", "key"), "qkv": ("query", "key", "value")}


class _Group(NamedTuple):
    """Kernels that count as one, side by side, by their paths in a model; most are alone."""

    paths: tuple[Path, ...]

    def name(self) -> tuple[str, ...]:
        """Where its arrays are held."""
        *above, _ = map(str, self.paths[0])
        return (*above, "_".join(str(path[-1]) for path in self.paths))


class Reparametrized(nnx.Module):
    """Beside a model whose dense and convolution kernels stay what is learned: embeddings, norms, biases do too.

    Those are what `jattn.layers.kernels` finds. A kernel of many heads is one matrix, all heads side by side. Fresh
    kernels of zeros are drawn anew. `applied(model)` is the model that computes.
    """

    def __init__(self, model: nnx.Module, how: Reparametrization, *, rngs: nnx.Rngs):
        self.how = how
        drawn = {
            path: each.variable.replace(_drawn(each.variable[...], rngs.params()))
            for path, each in self._kernels(model).items()
        }
        nnx.update(model, nnx.from_flat_state(drawn))
        found = self._kernels(model)
        made = Variables({}, {})
        for group in _groups(found, how.joint):
            one = _over_layers(how.start, found[group.paths[0]].maps)(_beside(found, group))
            for tree, part in zip(made, one, strict=True):
                _put(tree, group.name(), part)
        self.beside = hold(made)

    def applied(self, model: nnx.Module) -> nnx.Module:
        """A copy of the model whose kernels are those that these arrays make; the model stays."""
        graphdef, state = nnx.split(model)
        flat = dict(nnx.to_flat_state(state))
        for group, kernel, own in self._each(model):
            made = _over_layers(self.how.kernel, kernel[group.paths[0]].maps)(own, _beside(kernel, group))
            for path, part in zip(group.paths, _apart(kernel, group, made), strict=True):
                flat[path] = flat[path].replace(part)
        return nnx.merge(graphdef, nnx.from_flat_state(flat))

    def renew(self, model: nnx.Module) -> None:
        """Takes the arrays that are kept, but not learned, one training step further."""
        fresh = {}
        for group, kernel, own in self._each(model):
            made = _over_layers(self.how.renewed, kernel[group.paths[0]].maps)(own, _beside(kernel, group))
            _put(fresh, group.name(), made)
        renew(self.beside, fresh)

    def _kernels(self, model: nnx.Module) -> dict[Path, Kernel]:
        found = kernels(model)
        return {path: each for path, each in found.items() if self.how.where == "all" or self.how.where in path}

    def _each(self, model: nnx.Module) -> Iterator[tuple[_Group, dict[Path, Kernel], dict]]:
        found, held = self._kernels(model), arrays(self.beside)
        for group in _groups(found, self.how.joint):
            params, buffers = (_get(tree, group.name()) for tree in held)
            yield group, found, params | buffers


def _groups(found: dict[Path, Kernel], joint: str) -> list[_Group]:
    together: dict[Any, list[Path]] = {}
    for path in found:
        together.setdefault(path[:-1] if path[-1] in JOINT[joint] else path, []).append(path)
    order = JOINT["qkv"]
    return [
        _Group(tuple(sorted(paths, key=lambda path: order.index(path[-1]) if len(paths) > 1 else 0)))
        for paths in together.values()
    ]


def _beside(found: dict[Path, Kernel], group: _Group) -> Float[Array, "*l n f"]:
    return jnp.concatenate([found[path].matrix() for path in group.paths], -1)


def _apart(found: dict[Path, Kernel], group: _Group, made: Float[Array, "*l n f"]) -> list[Array]:
    widths = [found[path].matrix().shape[-1] for path in group.paths]
    cut = jnp.split(made, np.cumsum(widths)[:-1], -1)
    return [found[path].array(part) for path, part in zip(group.paths, cut, strict=True)]


def _over_layers(one: Callable, lead: int) -> Callable:
    for _ in range(lead):
        one = jax.vmap(one)
    return one


def _drawn(kernel: Array, rng: Array) -> Array:
    fresh = DEVIATION * jax.random.truncated_normal(rng, -2, 2, kernel.shape, jnp.float32)
    return jnp.where((kernel != 0).any(), kernel, fresh.astype(kernel.dtype))


def _put(tree: dict, name: tuple[str, ...], value: dict) -> None:
    for step in name:
        tree = tree.setdefault(step, {})
    tree.update(value)


def _get(tree: dict, name: tuple[str, ...]) -> dict:
    for step in name:
        tree = tree.get(step, {})
    return tree
