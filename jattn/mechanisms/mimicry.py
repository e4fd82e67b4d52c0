"""Softmax attention beside which the features of a linear one learn to give its weights.

Source: Zhang, Bhatia, Kumbong, Re, "The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry",
ICLR 2024, arXiv:2402.04347, section 4 (distillation of attention weights); the same group's LoLCATs code for the
distance of outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jattn import engines
from jattn.engines import dense
from jattn.engines.rows import over_rows
from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.numerics import wide
from jattn.part import Attended, Dims, Rng, part
from jattn.parts.decays import Undecayed
from jattn.parts.features import Mapped
from jattn.parts.normalizers.softmax import Softmax


def log_weights(query: Mapped, key: Mapped, seen: Bool[Array, "#h t s"]) -> Float[Array, "h t s"]:
    """The log of what linear attention gives to each key, from the features of both sides; -inf where it is not seen.

    Features are "t h f" and "s g f", the logs of factors on them "t h" and "s g".
    """
    (asked, reading), (held, scale) = query, key
    products = engines.products(jnp.moveaxis(asked, 1, 0), jnp.moveaxis(held, 1, 0))
    # without their factors products may be too small to be told from 0
    logs = jnp.log(jnp.maximum(products, jnp.finfo(products.dtype).tiny))
    if reading is not None:
        logs += reading.T[:, :, None]
    if scale is not None:
        logs += jnp.repeat(scale.T, len(logs) // scale.shape[1], 0)[:, None, :]
    any_seen = seen.any(-1, keepdims=True)
    logs = jnp.where(seen, logs, -jnp.inf)
    return logs - jnp.where(any_seen, jax.nn.logsumexp(jnp.where(any_seen, logs, 0), -1, keepdims=True), 0)


def cross_entropy(
    weights: Float[Array, "h t s"], logs: Float[Array, "h t s"], seen: Bool[Array, "#h t s"]
) -> Float[Array, "h t"]:
    """Of each row's weights and the logs of others, in nats; a row that sees no key has none."""
    # not seen, 0 times -inf
    return -(weights * jnp.where(seen, logs, 0)).sum(-1)


@part
class Mimicry(Mechanism):
    """Attends as the `teacher` does, and observes how far the `student` is from it on the same queries and keys.

    Observed are sums over rows and heads: `cross_entropy`, in nats, of the student's weights under the teacher's, over
    the keys that the teacher's row sees; `squared_error`, of each row the mean over the width of outputs; and how many
    `rows` see a key. Their gradients reach the student's own arrays alone. Time grows with the pairs, memory with the
    tokens.
    """

    teacher: Attention = Attention()
    student: LinearAttention = LinearAttention(order="full")

    def __post_init__(self):
        if self.teacher.score or not isinstance(self.teacher.normalizer, Softmax):
            parts = ", ".join(type(each).__name__ for each in (*self.teacher.score, self.teacher.normalizer))
            raise ValueError(
                f"Mimicry.teacher must be softmax attention without scores, got {parts}; leave score and normalizer "
                f"out."
            )
        if self.student.position != self.teacher.position:
            got = " and ".join(type(each.position).__name__ for each in (self.teacher, self.student))
            raise ValueError(
                f"Mimicry.student must turn queries and keys as the teacher does, got {got}; give both one position."
            )
        feature, decay = self.student.feature, self.student.decay
        if not isinstance(decay, Undecayed) or not feature.normalized or feature.floor:
            raise ValueError(
                f"Mimicry.student must have features that are normalized and have no floor, and no decay, got "
                f"{feature} and {decay}; take Hedgehog features."
            )

    def looks_ahead(self, dims: Dims) -> str | None:
        found = self.teacher.looks_ahead(dims)
        return found and f"teacher.{found}"

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Any:
        raise ValueError(
            "Mimicry is for training and keeps no decoding state, got a call for one; decode by the teacher or by the "
            "student alone."
        )

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: None) -> Attended:
        found = self.teacher.apply(own["teacher"], split, layout, rng, None)
        seen = found.stats.visible > 0
        apart = self.distances(own, split, layout, found.out)
        observed = {name: each.sum() for name, each in apart.items()} | {"rows": seen.sum().astype(jnp.float32)}
        return found._replace(stats=found.stats._replace(observed=observed))

    def distances(
        self, own: dict, split: Split, layout: Layout, out: Float[Array, "t h e"]
    ) -> dict[str, Float[Array, "t h"]]:
        """Of each row, from the teacher's output; 0 of rows that see no key."""
        query, key, value, teacher, out = lax.stop_gradient((split.query, split.key, split.value, own["teacher"], out))
        split = split._replace(query=query, key=key, value=value)
        apart = (self.student.apply(own["student"], split, layout, None, None).out - out).astype(wide(out.dtype))
        return {
            "cross_entropy": self._cross_entropy(own["student"], teacher, split, layout),
            "squared_error": jnp.square(apart).mean(-1),
        }

    def _cross_entropy(self, student: dict, teacher: dict, split: Split, layout: Layout) -> Float[Array, "t h"]:
        (rule, own, query, key, _, place, pairs), _ = self.teacher.arguments(teacher, split, layout, None, None)

        def mapped(side, role):
            vector = side.vector.astype(wide(side.vector.dtype))
            return self.student.feature.map(student["feature"], side._replace(vector=vector), role, place)

        held = mapped(key, "key")

        def some(rows):
            seen = engines.seen(rule, own, engines.whole_tile(rows, key, place), pairs.mask)
            weights = dense.weights(rule, own, rows, key, place, pairs)
            return cross_entropy(weights, log_weights(mapped(rows, "query"), held, seen), seen).T

        return over_rows(some, query)
