"""The slot `objectives`: what a training step makes small."""

from collections.abc import Callable

from jaxtyping import Array, Float, Int

from jattn.part import Part, Variables

# where the params of a run hold what its objective learns, beside what the model does
LEARNED = "objective"

Forward = Callable[..., tuple]


class Objective(Part):
    """Turns a batch into a loss; it may call the model several times.

    Where `mean` is true the loss is a mean over the batch, so that the mean of the losses of equal pieces is the loss
    of the whole. What it learns itself lies in `variables.params[LEARNED]`.
    """

    mean = True

    def __call__(
        self, forward: Forward, variables: Variables, batch: dict[str, Int[Array, "b n"]], rng: Array | None
    ) -> tuple[Float[Array, ""], dict]:
        """The loss and its terms, arrays by name that the metrics may keep.

        `forward(variables, tokens, rng, layout=None)` is the model on tokens "b t", packed or padded as a `Layout`
        says: logits "b t v", the record and the state.
        """
        raise NotImplementedError
