"""Attention with the whole matrix of its weights, in as few operations on secrets as its definition needs.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, equation 1; of the replacements: Li
et al., "MPCFormer", ICLR 2023, arXiv:2211.01452, section 3.2 (2Quad); Wortsman et al., "Replacing softmax with ReLU in
Vision Transformers", 2023, arXiv:2309.08586 (ReLU over the number of keys).
Departs: pairs that do not see each other are left out by products with a public mask, since secret shares in fixed
point hold no infinity.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn import engines
from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.part import Attended, Rng, Stats, part
from jattn.parts.masks.causal import Causal

# far below any logit, and far from where fixed point of 64 bits overflows
LOWEST = -1024.0
# what 2Quad adds before it squares, by MPCFormer
SHIFT = 5.0
# keeps a row whose logits are all negative away from 0 / 0
LEAST = 1e-3


def softmax(logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """Every row must see a key."""
    top = jnp.where(seen, logits, LOWEST).max(-1, keepdims=True)
    mass = jnp.exp(jnp.where(seen, logits - top, 0)) * seen
    return mass / mass.sum(-1, keepdims=True)


def relu_over_sum(logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """ReLU, divided by its sum."""
    mass = jax.nn.relu(logits) * seen
    return mass / (mass.sum(-1, keepdims=True) + LEAST)


def quadratic(logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """Squares of the shifted logits, divided by their sum: 2Quad."""
    mass = jnp.square(logits + SHIFT) * seen
    return mass / mass.sum(-1, keepdims=True)


def relu_over_keys(logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """ReLU, divided by the public number of keys that the row sees."""
    return jax.nn.relu(logits) * (seen / seen.sum(-1, keepdims=True))


def linear(logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """The logits themselves, divided by the public number of keys: no comparison, nothing but a product."""
    return logits * (seen / seen.sum(-1, keepdims=True))


WEIGHTS: dict[str, Callable] = {
    "softmax": softmax,
    "relu_over_sum": relu_over_sum,
    "quadratic": quadratic,
    "relu_over_keys": relu_over_keys,
    "linear": linear,
}


@part
class WholeRows(Mechanism):
    """The scores, mask and positions of the `attention` that it holds, its normalizer replaced by one of WEIGHTS."""

    attention: Attention = Attention(mask=Causal())
    weights: str = "softmax"

    def __post_init__(self):
        if self.weights not in WEIGHTS:
            raise ValueError(
                f"WholeRows.weights must be one of {', '.join(WEIGHTS)}, got {self.weights!r}; 'softmax' is usual."
            )

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: None) -> Attended:
        arguments, _ = self.attention.arguments(own["attention"], split, layout, rng, state)
        rule, own, query, key, value, place, pairs = arguments
        tile = engines.whole_tile(query, key, place)
        seen = engines.seen(rule, own, tile, pairs.mask)
        logits = engines.logits(rule, own, tile, pairs.bias)
        found = WEIGHTS[self.weights](logits, seen)
        # nothing of what an inference does not read
        stats = Stats(entropy=None, log_normalizer=None, max_logit=None, visible=None, observed={})
        return Attended(jnp.einsum("hts,she->the", found, value), stats)
