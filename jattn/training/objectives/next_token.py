"""The mean cross entropy of each token given those before it, in nats per token.

Source: Bengio, Ducharme, Vincent and Jauvin, A Neural Probabilistic Language Model, Journal of Machine Learning
Research 3, 2003, section 2, without the regularizer.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jattn.layers.flow import Record
from jattn.models import Model
from jattn.part import Variables, part
from jattn.training.objectives import Batch, Forward, Measured, Objective, check_ahead


def cross_entropy(logits: Float[Array, "*b v"], targets: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """What each target costs under the softmax of its logits, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)


def with_terms(cost: Float[Array, ""], record: Record) -> tuple[Float[Array, ""], dict]:
    """A loss with the weighted terms of the layers added to it."""
    added = sum((jnp.sum(term) for term in record.terms.values()), jnp.zeros((), jnp.float32))
    return cost + added, {"cross_entropy": cost, "stats": record.stats}


@part
class NextToken(Objective):
    """Reads tokens "b n" and predicts all but the first; weighted terms of the layers are added."""

    def check(self, model: Model, context: int) -> None:
        check_ahead("NextToken", model, context)

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        (tokens,) = self.needed(batch, "tokens")
        logits, record, _ = forward(variables, tokens[:, :-1], rng)
        return with_terms(cross_entropy(logits, tokens[:, 1:]).mean(), record)

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        tokens, scored = self.needed(batch, "tokens", "scored")
        logits, _, _ = forward(variables, tokens[:, :-1], None)
        return Measured({"loss": cross_entropy(logits, tokens[:, 1:])}, scored)
