"""Any objective with a penalty beside it, whose learned arrays train with the model.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, algorithm 1 (L_CE + lambda
L_ent).
"""

from jaxtyping import Array

from jattn.models import Model
from jattn.part import Variables, part
from jattn.training.objectives import LEARNED, Batch, Forward, Measured, Objective
from jattn.training.objectives.next_token import NextToken
from jattn.training.penalties import Penalty
from jattn.training.penalties.entropy_band import EntropyBand


@part
class Penalized(Objective):
    """The sum of the inner objective's loss and the penalty, which is one of its terms."""

    inner: Objective = NextToken()
    penalty: Penalty = EntropyBand()

    @property
    def mean(self) -> bool:
        """Whether both are."""
        return self.inner.mean and self.penalty.mean

    def check(self, model: Model, context: int) -> None:
        self.inner.check(model, context)

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        own = self.own(Variables(variables.params.get(LEARNED, {}), {}))
        loss, terms = self.inner(forward, variables, batch, rng)
        penalty = self.penalty(own["penalty"], terms["stats"])
        return loss + penalty, terms | {"penalty": penalty}

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        return self.inner.measured(forward, variables, batch)
