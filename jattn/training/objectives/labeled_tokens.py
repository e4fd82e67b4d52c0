"""The mean cross entropy of the labels of those tokens that have one, in nats per label.

Source: Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", ICLR 2024,
arXiv:2312.04927, section 4 (of associative recall the answers alone are scored).
"""

import jax.numpy as jnp
from jaxtyping import Array

from jattn.numerics import divide
from jattn.part import Variables, part
from jattn.training.objectives import Batch, Forward, Measured, Objective, layout
from jattn.training.objectives.next_token import cross_entropy, with_terms


@part
class LabeledTokens(Objective):
    """Reads `inputs`, `labels` and `scored`, 1 where a token has a label; evaluation shows accuracy too."""

    # batches hold more labels and fewer
    mean = False

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        inputs, labels, scored = self.needed(batch, "inputs", "labels", "scored")
        logits, record, _ = forward(variables, inputs, rng, layout(batch))
        cost = cross_entropy(logits, labels) * scored
        return with_terms(divide(cost.sum(), scored.sum()), record)

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        inputs, labels, scored = self.needed(batch, "inputs", "labels", "scored")
        logits, _, _ = forward(variables, inputs, None, layout(batch))
        right = (logits.argmax(-1) == labels).astype(jnp.float32)
        return Measured({"loss": cross_entropy(logits, labels), "accuracy": right}, scored)
