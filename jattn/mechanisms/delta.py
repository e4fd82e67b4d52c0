"""Linear attention by the delta rule: a key replaces what the state holds for it, so that old pairs make room for new.

Source: Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
NeurIPS 2024, arXiv:2406.06484 (SiLU features of length 1, beta = sigmoid(x W)); the rule is that
of Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021, arXiv:2102.11174.
Departs: no short convolution, which `ShortConvolution` is, and no norm of the output.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.engines import delta
from jattn.mechanisms import Layout, Mechanism, Split, linear
from jattn.mechanisms.linear import Held
from jattn.numerics import wide
from jattn.part import Attended, Dims, Rng, part
from jattn.parts.features import Feature
from jattn.parts.features.swish import Swish
from jattn.parts.positions import Position, Unturned


@part
class DeltaAttention(Mechanism):
    """Rows see the keys up to their own, in the order of the tokens; features are brought to length 1.

    Of what the state holds for a key, the key replaces the share beta, in [0, 1], by its value: "n #g" in the layout's
    `extra`, and in a layer a sigmoid of its input, learned. Segments, statistics and what is refused are as in
    `LinearAttention`; of a mesh examples and heads are split, and no tokens.
    """

    feature: Feature = Swish()
    position: Position = Unturned()

    def params(self, rng: Array, dims: Dims) -> dict:
        if dims.model_width is None:
            # the caller gives beta
            return {}
        width = dims.model_width
        return {"kernel": jax.random.normal(rng, (width, dims.key_heads)) * width**-0.5}

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        return {"beta": jax.nn.sigmoid(x.astype(wide(x.dtype)) @ own["kernel"])}

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Held:
        token = linear.token(dims, dtype, {"beta": np.zeros((1, 1), np.float32)} | (extra or {}))
        return Held(jnp.zeros((), jnp.int32), delta.start(self._rule(), own, *token))

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Held | None) -> Attended:
        held = 0 if state is None else state.length
        given = linear.tokens(own, split, layout, held, self.position, None)
        found, keys = delta.attend(self._rule(), *given, None if state is None else state.keys)
        return found if state is None else found._replace(state=Held(held + len(split.key), keys))

    def _rule(self) -> delta.Rule:
        return delta.Rule(self.feature)


def delta_attention(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    beta: Float[Array, "*b s #g"],
    feature: Feature = Swish(),
    *,
    layout: Layout | None = None,
    state: Held | None = None,
) -> Attended:
    """Linear attention by the delta rule over any leading batch axes, in time and memory that grow with the length.

    `beta` in [0, 1] is the share of what the state holds for a key that its value replaces; with 0 nothing is written.
    `layout` and `state` are as in `jattn.linear_attention`. Raises ValueError for shapes that do not fit, and for a
    beta out of range where its numbers are known.
    """
    with contextlib.suppress(jax.errors.TracerArrayConversionError):
        low, high = np.min(beta, initial=0), np.max(beta, initial=0)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"The delta rule's beta must be in [0, 1], got numbers from {low:g} to {high:g}; take a sigmoid."
            )
    layout = Layout() if layout is None else layout
    ours, theirs = layout.extra if isinstance(layout.extra, tuple) else (layout.extra, layout.extra)
    layout = layout._replace(extra=(ours, {**theirs, "beta": beta}))
    return linear.serve(query, key, value, DeltaAttention(feature), layout, state)
