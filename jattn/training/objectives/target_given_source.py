"""The mean cross entropy of each token of a target given those before it and the whole source, in nats per token.

Source: Sutskever, Vinyals, Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS 2014, arXiv:1409.3215,
section 3.2.
"""

import jax.numpy as jnp
from jaxtyping import Array

from jattn.mechanisms import Layout
from jattn.models import Model
from jattn.models.encoder_decoder import Sequences
from jattn.numerics import divide
from jattn.part import Variables, part
from jattn.training.objectives import Batch, Forward, Measured, Objective, check_ahead
from jattn.training.objectives.next_token import cross_entropy, with_terms


@part
class TargetGivenSource(Objective):
    """Reads `source`, `tokens` and how long each is; the mean is over the target tokens that are no padding."""

    # batches hold more tokens and fewer
    mean = False

    def check(self, model: Model, context: int) -> None:
        check_ahead("TargetGivenSource", model, context)

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        logits, record = self._logits(forward, variables, batch, rng)
        counts = (jnp.arange(logits.shape[1])[None] < batch["length"][:, None]).astype(jnp.float32)
        cost = cross_entropy(logits, batch["tokens"][:, 1:]) * counts
        return with_terms(divide(cost.sum(), counts.sum()), record)

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        (scored,) = self.needed(batch, "scored")
        logits, _ = self._logits(forward, variables, batch, None)
        targets = batch["tokens"][:, 1:]
        right = (logits.argmax(-1) == targets).astype(jnp.float32)
        return Measured({"loss": cross_entropy(logits, targets), "accuracy": right}, scored)

    def _logits(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None) -> tuple:
        names = "source", "tokens", "source_length", "length"
        source, tokens, source_length, length = self.needed(batch, *names)
        layout = Layout(valid=(length, source_length))
        logits, record, _ = forward(variables, Sequences(source, tokens[:, :-1]), rng, layout)
        return logits, record
