"""The mean cross entropy of tokens that were hidden, given those that were not, in nats per hidden token.

Source: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019, arXiv:1810.04805, section 3.1, task 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jattn.numerics import divide
from jattn.part import Variables, part
from jattn.training import checks
from jattn.training.objectives import Batch, Forward, Measured, Objective
from jattn.training.objectives.next_token import cross_entropy, with_terms

# of those chosen, the share that the mask stands for, and up to where another token does; the rest stay
MASKED, REPLACED = 0.8, 0.9


class Hidden(NamedTuple):
    """Tokens of which some are hidden, and which."""

    tokens: Int[Array, "b t"]
    chosen: Bool[Array, "b t"]


def hidden(tokens: Int[Array, "b t"], keys: Array, share: float, mask: int) -> Hidden:
    """Chooses a share of the tokens, by each example's key and by position alone.

    Of ten chosen eight become the mask, one is drawn from all tokens below it, and one stays.
    """

    def one(token: Int[Array, ""], position: Int[Array, ""], key: Array) -> tuple:
        choose, how, other = jax.random.split(jax.random.fold_in(key, position), 3)
        chosen, way = jax.random.uniform(choose) < share, jax.random.uniform(how)
        drawn = jax.random.randint(other, (), 0, mask, tokens.dtype)
        shown = jnp.where(way < MASKED, mask, jnp.where(way < REPLACED, drawn, token))
        return jnp.where(chosen, shown, token).astype(tokens.dtype), chosen

    by_position = jax.vmap(one, (0, 0, None))
    return Hidden(*jax.vmap(by_position, (0, None, 0))(tokens, jnp.arange(tokens.shape[1]), keys))


@part
class MaskedTokens(Objective):
    """Hides a `share` of the tokens "b n" but the first; token number `mask` stands for those hidden, others below it.

    What is held out is hidden by the number of each example, so that it is the same in every run.
    """

    share: float = 0.15
    mask: int = 256
    # batches hide more tokens and less
    mean = False

    def __post_init__(self):
        checks.between("MaskedTokens", "share", self.share, 1e-3, 1, "the paper hides 0.15")
        checks.whole("MaskedTokens", "mask", self.mask, 1, "tokens are numbered below it, so bytes need 256")

    def __call__(self, forward: Forward, variables: Variables, batch: Batch, rng: Array | None):
        (tokens,) = self.needed(batch, "tokens")
        if rng is None:
            raise ValueError("MaskedTokens hides tokens by a key, got rng=None; pass jax.random.key(0).")
        hiding, forward_key = jax.random.split(rng)
        made = self._hidden(tokens, hiding, jnp.arange(len(tokens)))
        logits, record = self._logits(forward, variables, made, forward_key)
        cost = cross_entropy(logits, tokens[:, 1:])
        return with_terms(divide((cost * made.chosen).sum(), made.chosen.sum().astype(jnp.float32)), record)

    def measured(self, forward: Forward, variables: Variables, batch: Batch) -> Measured:
        tokens, scored, numbers = self.needed(batch, "tokens", "scored", "number")
        made = self._hidden(tokens, jax.random.key(0), numbers)
        logits, _ = self._logits(forward, variables, made, None)
        right = (logits.argmax(-1) == tokens[:, 1:]).astype(jnp.float32)
        shown = {"loss": cross_entropy(logits, tokens[:, 1:]), "accuracy": right}
        return Measured(shown, scored * made.chosen)

    def _hidden(self, tokens: Int[Array, "b n"], key: Array, numbers: Int[Array, " b"]) -> Hidden:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
        return hidden(tokens[:, 1:], keys, self.share, self.mask)

    def _logits(self, forward: Forward, variables: Variables, made: Hidden, rng: Array | None) -> tuple:
        logits, record, _ = forward(variables, made.tokens, rng)
        if logits.ndim != 3 or logits.shape[-1] <= self.mask:
            raise ValueError(
                f"MaskedTokens needs logits of each token and the mask, number {self.mask}, among them, got shape "
                f"{logits.shape}; use --model encoder with no classes and --model.vocabulary {self.mask + 1}."
            )
        return logits, record
