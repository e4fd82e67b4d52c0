"""The mean cross entropy of each token given those before it, in nats per token.

Source: Bengio, Ducharme, Vincent and Jauvin, A Neural Probabilistic Language Model, Journal of Machine Learning
Research 3, 2003, section 2, without the regularizer.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jattn.part import Variables, part
from jattn.training.objectives import Forward, Objective


def cross_entropy(logits: Float[Array, "b t v"], targets: Int[Array, "b t"]) -> Float[Array, "b t"]:
    """What each target costs under the softmax of its logits, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)


@part
class NextToken(Objective):
    """Reads tokens "b n" and predicts all but the first; weighted terms of the layers are added."""

    def __call__(self, forward: Forward, variables: Variables, batch: dict[str, Int[Array, "b n"]], rng: Array | None):
        tokens = batch["tokens"]
        logits, record, _ = forward(variables, tokens[:, :-1], rng)
        cost = cross_entropy(logits, tokens[:, 1:]).mean()
        added = sum((jnp.sum(term) for term in record.terms.values()), jnp.zeros((), jnp.float32))
        return cost + added, {"cross_entropy": cost, "stats": record.stats}
