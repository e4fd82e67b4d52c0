"""The slot `objectives`: what a training step makes small."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxtyping import Array, Float, Shaped

from jattn.mechanisms import Layout
from jattn.models import Model
from jattn.part import Part, Variables

# where the params of a run hold what its objective learns, beside what the model does
LEARNED = "objective"

Forward = Callable[..., tuple]
Batch = Mapping[str, Shaped[Array, "b ..."]]


class Measured(NamedTuple):
    """What evaluation shows, `loss` in nats and perhaps `accuracy`, for each thing that may count, and which do."""

    shown: dict[str, Float[Array, "b *t"]]
    counts: Float[Array, "b *t"]


class Objective(Part):
    """Turns a batch into a loss; it may call the model several times.

    Where `mean` is true the loss is a mean over the batch, so that the mean of the losses of equal pieces is the loss
    of the whole. What it learns itself lies in `variables.params[LEARNED]`.
    """

    mean = True

    def check(self, model: Model, context: int) -> None:
        """Refuses a model that it cannot train."""

    def __call__(
        self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None
    ) -> tuple[Float[Array, ""], dict]:
        """The loss and its terms, arrays by name that the metrics may keep, and `stats`, those of the model's rows.

        `forward(variables, inputs, rng, layout=None)` is the model on what it reads, tokens "b t" for most, packed or
        padded as a `Layout` says: logits, the record of its layers, and what else it knows.
        """
        raise NotImplementedError

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        """What a held-out batch shows, without noise; `number` in the batch is that of each example."""
        raise NotImplementedError

    def needed(self, batch: Batch, *names: str) -> tuple[Array, ...]:
        """Arrays of a batch; raises ValueError where the source gives others."""
        if missing := [name for name in names if name not in batch]:
            raise ValueError(
                f"{type(self).__name__} reads {' and '.join(names)} of an example, got one without "
                f"{' and '.join(missing)} from this source; choose another source, or another objective."
            )
        return tuple(batch[name] for name in names)


def check_ahead(name: str, model: Model, context: int) -> None:
    """Refuses a model of tokens whose attention sees those that it is to predict."""
    # others are refused for what they read
    if not hasattr(model, "vocabulary"):
        return
    dims = model.projection.dims(model.width, model.heads, model.depth)
    dims = dataclasses.replace(dims, length=model.tokens(context))
    found = {"attention": model.attention.looks_ahead(dims), "projection": model.projection.looks_ahead()}
    for field, option in found.items():
        if option:
            raise ValueError(
                f"{name} predicts each token from those before it, got {type(model).__name__}.{field} with rows that "
                f"see later ones; use --model.{field}.{option}, or --objective masked_tokens."
            )


def layout(batch: Batch) -> Layout:
    """How a batch is padded, if it says so."""
    return Layout(valid=batch.get("valid"))
