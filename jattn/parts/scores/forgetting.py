"""Lowers each logit by what learned gates forgot between key and query.

Source: Lin et al., "Forgetting Transformer: Softmax Attention with a Forget Gate", ICLR 2025, arXiv:2503.02130,
section 3, equations 4 to 6.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jattn.numerics import running_sum, wide
from jattn.part import Dims, Place, Rng, Side, Tile, part
from jattn.parts.scores import Score


def log_gates(x: Float[Array, "n m"], kernel: Float[Array, "m h"], bias: Float[Array, " h"]) -> Float[Array, "n h"]:
    """log sigmoid(x W + b) for each token and head, in nats."""
    return jax.nn.log_sigmoid((x @ kernel.astype(x.dtype)).astype(wide(x.dtype)) + bias[None])


def forgotten(
    query: tuple[Float[Array, "h t"], Float[Array, "h t"]], key: tuple[Float[Array, "h s"], Float[Array, "h s"]]
) -> Float[Array, "h t s"]:
    """The sum of log gates after the key up to the query, from prefix sums kept as two floats."""
    high, low = (q[:, :, None] - k[:, None, :] for q, k in zip(query, key, strict=True))
    return high + low


@part
class Forgetting(Score):
    """One gate a token and head, from the layer's input; biases start spread from short to long memory."""

    shortest: float = 2.0
    longest: float = 128.0
    mixes = True

    def __post_init__(self):
        if not 1 < self.shortest <= self.longest:
            raise ValueError(
                f"Forgetting needs 1 < shortest <= longest, in tokens, got {self.shortest} and {self.longest}; they "
                f"are the memory of the first and the last head at the start."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        # a gate of 1 - 1/n forgets within about n tokens
        memory = jnp.geomspace(self.shortest, self.longest, dims.heads)
        return {
            "kernel": jnp.zeros((dims.need("model_width", self), dims.heads)),
            "bias": jnp.log(memory - 1),
        }

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        return {"log_gate": log_gates(x, own["kernel"], own["bias"])}

    def tokens(self, own: dict, query: Side, key: Side, place: Place, rng: Rng | None) -> tuple[Side, Side]:
        gate = key.extra["log_gate"]
        if key.valid is not None:
            gate = jnp.where(key.valid[:, None], gate, 0)
        high, low = running_sum(gate)
        # queries hold new tokens only, so their sums are the key side's at the same index
        row = jnp.searchsorted(key.index, query.index)
        own_heads = jnp.asarray(place.head)
        high, low = high[:, own_heads], low[:, own_heads]
        return (
            query._replace(extra=query.extra | {"high": high[row], "low": low[row]}),
            key._replace(extra=key.extra | {"high": high, "low": low}),
        )

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        sums = [(side.extra["high"], side.extra["low"]) for side in (tile.query, tile.key)]
        return logits + forgotten(*sums).astype(logits.dtype)
