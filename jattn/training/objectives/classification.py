"""The mean cross entropy of each example's class, in nats per example.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
arXiv:2010.11929, section 3.1.
"""

import jax.numpy as jnp
from jaxtyping import Array

from jattn.part import Variables, part
from jattn.training.objectives import Batch, Forward, Measured, Objective, layout
from jattn.training.objectives.next_token import cross_entropy, with_terms


@part
class Classification(Objective):
    """Reads `inputs`, padded as `valid` says where there is one, and a `label` each; evaluation shows accuracy too."""

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        (label,) = self.needed(batch, "label")
        logits, record = self._logits(forward, variables, batch, rng)
        return with_terms(cross_entropy(logits, label).mean(), record)

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        label, scored = self.needed(batch, "label", "scored")
        logits, _ = self._logits(forward, variables, batch, None)
        right = (logits.argmax(-1) == label).astype(jnp.float32)
        return Measured({"loss": cross_entropy(logits, label), "accuracy": right}, scored)

    def _logits(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None) -> tuple:
        (inputs,) = self.needed(batch, "inputs")
        logits, record, _ = forward(variables, inputs, rng, layout(batch))
        if logits.ndim != 2:
            raise ValueError(
                f"Classification needs one row of logits an example, got them for each token, of shape {logits.shape}; "
                f"give the model its number of classes, as --model.classes 10."
            )
        return logits, record
