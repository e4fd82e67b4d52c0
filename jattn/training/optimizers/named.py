"""Any optimizer of optax, by the name that optax gives it.

Source: DeepMind et al., The DeepMind JAX Ecosystem, 2020, github.com/google-deepmind/optax.
Departs: the gradient is clipped by its norm first, and the rate follows the schedule of the other optimizers here.
"""

import difflib
import functools
import inspect
import json
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jattn.part import part
from jattn.training.optimizers import Optimizer
from jattn.training.optimizers.adamw import check
from jattn.training.optimizers.kinds import MATRIX, STACKED, labels
from jattn.training.optimizers.schedule import Fall, schedule

Factory = Callable[..., optax.GradientTransformation]

# two arrays, named as in a model: a matrix of two layers and a vector
TRIED = {
    "stack": {STACKED: {0: {"feedforward": {"up": jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)}}}},
    "head": {"bias": jax.ShapeDtypeStruct((4,), jnp.float32)},
}
# of what optax says only so many characters
LONGEST_REASON = 160


def muon_dimensions(params: dict) -> dict:
    """Tells optax's muon which axes of the layers' matrices are inputs and outputs; all else is left to its adam."""

    def axes(kind, array):
        return optax.contrib.MuonDimensionNumbers(array.ndim - 2, array.ndim - 1) if kind == MATRIX else None

    return jax.tree.map(axes, labels(params), params)


# what depends on the params and so cannot be written as a word, by optax's name of the argument
OURS = {"muon_weight_dimension_numbers": muon_dimensions}


@functools.cache
def methods() -> types.MappingProxyType[str, Factory]:
    """Every optimizer of `optax`, and of `optax.contrib` where optax has none of that name."""
    found: dict[str, Factory] = {}
    for module in (optax.contrib, optax):
        for name in dir(module):
            # `scale_by_...` are pieces that optimizers are made of
            if not name.startswith(("_", "scale_by_")) and _makes_optimizers(getattr(module, name)):
                found[name] = getattr(module, name)
    return types.MappingProxyType(found)


def _makes_optimizers(thing: Any) -> bool:
    return inspect.isfunction(thing) and "learning_rate" in inspect.signature(thing).parameters


def values(words: tuple[str, ...]) -> dict[str, Any]:
    """Words such as `momentum=0.9` as values by name; what follows the sign is JSON, a list becomes a tuple."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            sign = ""
        if not sign or not name or name in found:
            raise ValueError(
                f"Optax.arguments must be words name=value, each name once and each value in JSON, got {word!r}; write "
                f'numbers as 0.9, switches as true, text as "bfloat16" with its quotes.'
            )
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


@part
class Optax(Optimizer):
    """`method` is optax's name, `arguments` are words such as `momentum=0.9` for it, the other fields as in AdamW.

    The default rate suits plain descent; each method wants one of its own. The method is made anew at each step with
    the rate of that step, so that those which take no schedule follow one too; `rprop` reads the first rate alone.
    What optax takes as a function or a tree, such as a mask, keeps its default: `weight_decay` decays every array.
    `muon` alone is told which arrays are matrices of layers, stacked ones one by one; `Muon` does the same faster.
    """

    method: str = "sgd"
    arguments: tuple[str, ...] = ()
    rate: float = 0.1
    warm_up: float = 0.03
    final: float = 0.02
    clip: float = 1.0
    fall: Fall = "cosine"

    def __post_init__(self):
        check(self, "rate", "clip")
        if self.method not in methods():
            cure = _nearest(self.method, methods()) or "choose one such as sgd, adam or lion"
            raise ValueError(f"Optax.method must be an optimizer of optax, got {self.method!r}; {cure}.")
        self._check_arguments()
        self._try()

    def _check_arguments(self) -> None:
        taken = dict(inspect.signature(methods()[self.method]).parameters)
        del taken["learning_rate"]
        given = values(self.arguments)
        for name in given:
            if name == "learning_rate":
                raise ValueError(f"Optax.arguments may not set learning_rate, got {self.arguments}; set Optax.rate.")
            if name not in taken:
                cure = _nearest(name, taken) or f"it has {', '.join(taken) or 'none'}"
                raise ValueError(f"Optax.arguments must be those of optax's {self.method}, got {name!r}; {cure}.")
        lacking = [name for name in taken if taken[name].default is inspect.Parameter.empty and name not in given]
        if lacking:
            raise ValueError(
                f"Optax.arguments must hold all that optax's {self.method} has no default for, got none of "
                f"{', '.join(lacking)}; give them as name=value, or choose another method."
            )

    def _try(self) -> None:
        """Refuses what makes no updates of two small arrays."""

        def updates(params):
            transformation = self.transformation(1)
            return transformation.update(params, transformation.init(params), params)[0]

        try:
            made = jax.eval_shape(updates, TRIED)
            reason = "" if jax.tree.map(_shape, made) == jax.tree.map(_shape, TRIED) else "updates have other shapes"
        # optax's own checks raise whatever they like
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_REASON]}"
        if reason:
            raise ValueError(
                f"Optax.method must make updates of gradients and params alone, got {self.method!r} with "
                f"{' '.join(self.arguments) or 'no arguments'}, which does not ({reason}); choose another or correct "
                f"its arguments."
            )

    def learning_rate(self, steps: int) -> optax.Schedule:
        return schedule(self.rate, steps, self.warm_up, self.final, self.fall)

    def transformation(self, steps: int) -> optax.GradientTransformation:
        method = methods()[self.method]
        known = {name: value for name, value in OURS.items() if name in inspect.signature(method).parameters}
        arguments = known | values(self.arguments)

        def at_rate(learning_rate):
            return method(learning_rate=learning_rate, **arguments)

        scheduled = optax.inject_hyperparams(at_rate)(learning_rate=self.learning_rate(steps))
        clipped = optax.chain(optax.clip_by_global_norm(self.clip), scheduled)

        def init(params):
            # some begin with the params themselves, and a step cannot take over one array twice
            return jax.tree.map(jnp.copy, clipped.init(params))

        return optax.GradientTransformationExtraArgs(init, clipped.update)


def _shape(array: jax.ShapeDtypeStruct) -> tuple:
    return array.shape, array.dtype


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 3, 0.5)
    return f"did you mean {' or '.join(near)}" if near else ""
