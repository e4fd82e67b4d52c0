"""How far linear attention is from the softmax attention beside it, in every layer and head.

Source: Zhang, Bhatia, Kumbong, Re, "The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry",
ICLR 2024, arXiv:2402.04347, section 4 (cross entropy of weights); the same group's LoLCATs code (squared error of
outputs, which it weighs by 1000, the cross entropy by 0).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jattn.models import Model
from jattn.numerics import divide
from jattn.part import Variables, part
from jattn.training import checks
from jattn.training.objectives import Batch, Forward, Measured, Objective
from jattn.training.objectives.next_token import NextToken


@part
class Distillation(Objective):
    """`weights` times the cross entropy of weights, in nats, and `outputs` times the squared error of outputs.

    Both are means over the layers, heads and rows of a model whose attention is `Mimicry`; `inner` reads the batch, and
    its own loss is left alone. What is held out is measured by example.
    """

    inner: Objective = NextToken()
    weights: float = 1.0
    outputs: float = 0.0

    def __post_init__(self):
        for name in ("weights", "outputs"):
            checks.between("Distillation", name, getattr(self, name), 0, 1e6, "0 leaves that distance out")
        if not self.weights and not self.outputs:
            raise ValueError("Distillation must weigh one distance above 0, got 0 and 0; leave both out.")

    @property
    def mean(self) -> bool:
        """Whether the inner one's is."""
        return self.inner.mean

    def check(self, model: Model, context: int) -> None:
        self.inner.check(model, context)

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        _, terms = self.inner(forward, variables, batch, rng)
        observed = terms["stats"].observed
        if not {"cross_entropy", "squared_error", "rows"} <= set(observed):
            raise ValueError(
                "Distillation needs a model whose attention is Mimicry, got one that observes no distance; convert a "
                "run by jattn convert --distill."
            )
        total = self.weights * observed["cross_entropy"].sum() + self.outputs * observed["squared_error"].sum()
        return divide(total, observed["rows"].sum()), {"stats": terms["stats"]}

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        counts = self.inner.measured(forward, variables, batch).counts
        counted = (counts.reshape(len(counts), -1) > 0).any(-1).astype(jnp.float32)

        def one(example):
            alone = {name: array[None] for name, array in example.items()}
            return self(forward, variables, alone, jax.random.key(0))[0]

        # sums are over the whole of a call
        return Measured({"loss": jax.vmap(one)(dict(batch))}, counted)
