"""The slot `optimizers`: turns gradients into updates."""

import optax

from jattn.part import Part


class Optimizer(Part):
    """Gives the optax transformation of a run of so many steps."""

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """From gradients to what is added to the params, clipping, decay and schedule included."""
        raise NotImplementedError

    def learning_rate(self, steps: int) -> optax.Schedule:
        """The step's number to the rate that the metrics show."""
        raise NotImplementedError
