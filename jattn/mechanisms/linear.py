"""Linear attention: products of features in place of exponentials, so that one sum of keys serves all later rows.

Source: Katharopoulos, Vyas, Pappas, Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with Linear
Attention", ICML 2020, arXiv:2006.16236, sections 3.2 to 3.4.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.engines import prefix, prefix_shards, varying
from jattn.mechanisms import Layout, Mechanism, Split, checks, recent, sides
from jattn.mechanisms.attention import attend
from jattn.mechanisms.recent import Recent
from jattn.part import Attended, Dims, Place, Rng, Side, part
from jattn.parts.decays import Decay, Undecayed
from jattn.parts.features import Feature
from jattn.parts.features.elu import Elu
from jattn.parts.positions import Position, Unturned


class Held(NamedTuple):
    """What decoding carries, of one size for any length: how many tokens there were, and what their keys amount to.

    Of features in blocks `keys` are those of whole blocks, and `recent` the last tokens, as many as a block has.
    """

    length: Int[Array, ""]
    keys: Any
    recent: Recent | None = None


@part
class LinearAttention(Mechanism):
    """Rows see the keys up to their own, in the order of the tokens whatever their positions, or with "full" all keys.

    A segment ends where the next begins; one whose number comes back begins anew. There are no weights, so that of the
    statistics only `visible` is there, and no pairs, so that a mask or a bias of pairs is refused.

    `context_axis` names the axis of a mesh over which tokens are split, as in `Attention`; what keys amount to crosses
    from device to device, and no key does.
    """

    feature: Feature = Elu()
    decay: Decay = Undecayed()
    order: Literal["causal", "full"] = "causal"
    position: Position = Unturned()
    context_axis: str | None = None

    def __post_init__(self):
        checks.axis(self)
        if self.order not in ("causal", "full"):
            raise ValueError(
                f"LinearAttention.order must be 'causal' or 'full', got {self.order!r}; leave it out for 'causal'."
            )
        self._rule()

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        made = self.decay.project(own["decay"], x)
        return {"decay": made} if made else {}

    def looks_ahead(self, dims: Dims) -> str | None:
        return "order causal" if self.order == "full" else None

    def state(self, dims: Dims, dtype: DTypeLike, own: dict, extra: dict | None = None) -> Held:
        self._refuse_full()
        made = {}
        if dims.model_width is not None:
            made = self.project(own, jnp.zeros((1, dims.model_width), dtype))
        given = token(dims, dtype, (extra or {}) | made)
        kept = recent.start(dims, dtype, self.feature.block) if self.feature.block else None
        return Held(jnp.zeros((), jnp.int32), prefix.start(self._rule(), own, *given), kept)

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Held | None) -> Attended:
        if self.context_axis is not None and state is not None:
            raise ValueError(
                f"Linear attention over the axis {self.context_axis!r} keeps no decoding state, got one; decode with "
                f"context_axis=None."
            )
        if state is not None:
            self._refuse_full()
        if state is not None and state.recent is not None:
            return self._goes_on(own, split, layout, state)
        held = 0 if state is None else state.length
        given = tokens(own, split, layout, held, self.position, self.context_axis)
        if self.context_axis is not None:
            found = prefix_shards.attend(self._rule(), *given, self.context_axis)
        else:
            found, keys = prefix.attend(self._rule(), *given, None if state is None else state.keys)
            found = found if state is None else found._replace(state=Held(held + len(split.key), keys))
        return observed(found, self.feature, given)

    def weights(
        self, own: dict, split: Split, layout: Layout, rng: Rng | None, rows: Int[np.ndarray, " r"]
    ) -> Float[Array, "h r s"]:
        return prefix.weights(self._rule(), *tokens(own, split, layout, 0, self.position, None), rows)

    def _goes_on(self, own: dict, split: Split, layout: Layout, state: Held) -> Attended:
        """Of features in blocks, the rows of new tokens, behind whole blocks and the tokens of one that is not."""
        no_pairs(layout)
        block, new = self.feature.block, len(split.query)
        filled = state.length % block
        kept, split, layout = recent.in_blocks(state.recent, split, layout, state.length)
        own, query, key, value, place = tokens(own, split, layout, 0, self.position, None)
        found, _ = prefix.attend(self._rule(), own, query, key, value, place, state.keys)
        whole = jnp.arange(len(key.vector)) < (filled + new) // block * block
        ended = key._replace(valid=key.valid & whole)
        keys, _ = prefix.absorb(self._rule(), own, query, ended, value, place, state.keys)
        found = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, filled, new), found)
        return found._replace(state=Held(state.length + new, keys, kept))

    def _refuse_full(self) -> None:
        if self.order == "full":
            raise ValueError(
                "What decoding carries serves rows that see the keys up to their own, got order='full'; decode with "
                "order='causal'."
            )

    def _rule(self) -> prefix.Rule:
        return prefix.Rule(self.feature, self.decay, self.order)


def no_pairs(layout: Layout) -> None:
    """Refuses data of pairs, which sums over keys cannot use."""
    for name in ("mask", "bias"):
        if getattr(layout, name) is not None:
            raise ValueError(
                f"Linear attention has no pairs for a {name} to act on, got one; give what is valid, or use Attention."
            )


def token(dims: Dims, dtype: DTypeLike, extra: dict) -> tuple[Side, Side, Float[Array, "1 j e"], Place]:
    """Both sides, the value and the place of a single token of zeros, whose shapes say what a state holds."""
    here, place = np.arange(1), Place(np.arange(dims.heads), dims.heads, dims.key_heads)
    query, key = (
        Side(jnp.zeros((1, heads, dims.key_width), dtype), here, here, None, None, 1, extra)
        for heads in (dims.heads, dims.key_heads)
    )
    return query, key, jnp.zeros((1, dims.value_heads, dims.value_width), dtype), place


def tokens(
    own: dict, split: Split, layout: Layout, held: Any, position: Position, axis: str | None
) -> tuple[dict, Side, Side, Float[Array, "s j e"], Place]:
    """What an engine that carries sums takes of one example: its arrays, both sides, values, and where heads lie."""
    no_pairs(layout)
    query, key, place = sides.both(position, own["position"], split, layout, held, axis)
    query, key, value = sides.emptied(query), sides.emptied(key), split.value
    if key.valid is not None:
        value = jnp.where(key.valid[:, None, None], value, 0)
    given = own, query, key, value, place
    return varying.alike(given, given)


def observed(found: Attended, feature: Feature, given: tuple) -> Attended:
    """A result with what training notes of both sides, as `tokens` gives them."""
    own, query, key, _, place = given
    seen = feature.observe(own["feature"], query, key, place)
    return found._replace(stats=found.stats._replace(observed={"feature": seen})) if seen else found


def linear_attention(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    feature: Feature = Elu(),
    decay: Decay = Undecayed(),
    *,
    order: Literal["causal", "full"] = "causal",
    layout: Layout | None = None,
    state: Held | None = None,
) -> Attended:
    """Linear attention over any leading batch axes, in time and memory that grow with the length.

    `layout` says which tokens are valid and what segments they belong to. Causal, `state` is of one size for any
    length, and the call that it is given to goes on behind the tokens of the call that it came from, one at a time or
    many. Features and decays that have arrays of their own go through `jattn.attend`, with
    `jattn.mechanisms.linear.LinearAttention` and its variables; gates that are there already go in as data, as in
    `Layout(extra={"decay": {"log_gate": ...}})` for `Gated`. Raises ValueError for shapes that do not fit.
    """
    attention, layout = LinearAttention(feature, decay, order), Layout() if layout is None else layout
    checks.kinds(attention, layout, None, None)
    # here, where numbers are known
    checks.decays(attention, layout)
    return serve(query, key, value, attention, layout, state)


# as a whole: operation by operation, a call at a new shape would compile dozens of small programs
@partial(jax.jit, static_argnums=3)
def serve(
    query: Array,
    key: Array,
    value: Array,
    attention: Mechanism,
    layout: Layout | None,
    state: Held | None,
    rng: Array | None = None,
) -> Attended:
    """`attend` from a given state or an empty one; where the attention has arrays of its own `rng` draws them."""
    dims = Dims.of(query, key, value)
    variables = None if rng is None else attention.init(rng, dims)
    if state is None and getattr(attention, "order", "causal") == "causal":
        one = attention.state(dims, query.dtype, attention.own(variables), _one_token(layout, query.ndim - 3))
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*query.shape[:-3], *leaf.shape)), one)
    return attend(query, key, value, attention, variables=variables, layout=layout, state=state)


def _one_token(layout: Layout | None, axes: int) -> dict:
    """What the layout's extra holds of keys, for a single token of zeros without these batch axes."""
    extra = layout.extra if layout is not None else {}
    theirs = extra[1] if isinstance(extra, tuple) else extra
    return jax.tree.map(lambda x: jnp.zeros((1, *x.shape[axes + 1 :]), x.dtype), theirs)
