"""The slot `penalties`: what a training step makes small beside its loss."""

from jaxtyping import Array, Float

from jattn.part import Part, Stats


class Penalty(Part):
    """Adds to the loss of one batch from the statistics of its rows; what it learns trains with the model.

    `mean = False` on the class says that it is no mean over the batch.
    """

    mean = True

    def __call__(self, own: dict, stats: Stats) -> Float[Array, ""]:
        """The weighted penalty; `stats` "l b t h", where a row that sees no key counts nothing."""
        raise NotImplementedError
