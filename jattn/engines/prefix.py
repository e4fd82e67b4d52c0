"""Linear attention: what keys so far amount to is carried from chunk to chunk, so that time and memory are linear.

Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, arXiv:2006.16236, section 3.3; Choromanski et al.,
"Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, appendix B.1 (prefix sums).
Departs: keys are scaled by the largest factor *up to each row*, inside a chunk too, so that no later key is heard; the
backward pass computes chunks again from what was carried, and undoes nothing by subtraction.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jattn import engines
from jattn.engines import chunks, varying
from jattn.engines.sums import Sums, added, finite, kept_low, leveled
from jattn.numerics import between, divide, known, quotient, wide
from jattn.part import Attended, Place, Side, part, scope
from jattn.parts.decays import Decay, Undecayed
from jattn.parts.features import Feature

# tokens of a chunk; where each feature decays by itself every pair has as many factors as there are features
CHUNK, FINE_CHUNK = 128, 16


@part
class Rule:
    """What an engine is told: features, how they decay, and whether rows see the keys up to their own or all keys."""

    feature: Feature
    decay: Decay = Undecayed()
    order: Literal["causal", "full"] = "causal"

    def __post_init__(self):
        if self.feature.block and (self.order == "full" or self.decay != Undecayed()):
            raise ValueError(
                f"A feature in blocks of {self.feature.block} tokens has an order and forgets nothing, got "
                f"{self.order!r} and {type(self.decay).__name__}; leave both out."
            )
        if self.order == "full" and self.decay != Undecayed():
            raise ValueError(
                f"What rows that see all keys carry has no order to decay in, got {type(self.decay).__name__}; leave "
                f"the decay out, or use order='causal'."
            )


class State(NamedTuple):
    """What decoding carries, of one size however many tokens were seen: the sums over the tokens of one segment."""

    sums: Sums
    visible: Int[Array, ""]
    segment: Int[Array, ""]


class _Tokens(NamedTuple):
    """Some tokens of one head of `Sums`, mapped: queries of the heads that share it, and logs of factors and decays.

    A query's head that shares with none has no axis `r`.
    """

    query: Float[Array, "*r c f"]
    reading: Float[Array, "*r c"]
    key: Float[Array, "c f"]
    scale: Float[Array, "c 1"]
    decay: Float[Array, "c #f"]
    value: Float[Array, "c e"]
    within: Float[Array, "*r c s"] | None


def start(rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place) -> State:
    """The state before the first token; of the sides, shapes alone are read."""
    made = jax.eval_shape(lambda: _mapped(rule, own, place, *chunks.even(query, key, value, 1)))
    heads, _, features = made.key.shape
    kind, width = made.key.dtype, value.shape[-1]
    level = jnp.full((heads, made.decay.shape[-1]), -jnp.inf, kind)
    empty = (jnp.zeros((heads, *shape), kind) for shape in ((width, features), (features,), (width,), ()))
    return State(kept_low(Sums(level, *empty, None)), jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))


def attend(
    rule: Rule,
    own: dict,
    query: Side,
    key: Side,
    value: Float[Array, "s j e"],
    place: Place,
    state: State | None = None,
    chunk: int | None = None,
) -> tuple[Attended, State]:
    """Attention of one example behind what `state` holds, and the state after the last key, in linear memory.

    Sides hold `vector` as "n h d". Rows have no weights, so that of the statistics only `visible` is there. A segment
    ends where the next begins: one that comes back begins anew. Features in blocks go on behind whole blocks. Raises
    ValueError where heads do not divide, and for segments where rows see all keys, or features come in blocks.
    """
    if rule.order == "full":
        return read(rule, own, query, key, value, place, absorb(rule, own, query, key, value, place, state, chunk)[0])
    state, cut = _begun(rule, own, query, key, value, place, state, chunk)

    @chunks.recomputed
    def both(state, cut):
        made, seen = _mapped(rule, own, place, *cut), chunks.reach(state.segment, cut[1])
        out = jax.vmap(functools.partial(_rows, rule, seen))(made, state.sums)
        return _after(rule, state, seen, made, cut[1]), (chunks.by_token(out), chunks.visible(state.visible, seen))

    state, (out, visible) = lax.scan(both, state, cut)
    return chunks.attended(out, visible, query, value), state._replace(sums=kept_low(state.sums))


def absorb(
    rule: Rule,
    own: dict,
    query: Side,
    key: Side,
    value: Float[Array, "s j e"],
    place: Place,
    state: State | None = None,
    chunk: int | None = None,
) -> tuple[State, Float[Array, "*h #f"]]:
    """The state after the last key, as `attend` gives it, and the log of the factor of all these tokens."""
    if rule.order == "full" and key.segment is not None:
        raise ValueError(
            "Linear attention of all keys carries one sum for all rows, got segments; give each segment a call of its "
            "own, or use order='causal'."
        )
    state, cut = _begun(rule, own, query, key, value, place, state, chunk)

    @chunks.recomputed
    def step(state, cut):
        made, seen = _mapped(rule, own, place, *cut), chunks.reach(state.segment, cut[1])
        return _after(rule, state, seen, made, cut[1]), made.decay.sum(1)

    state, spent = lax.scan(step, state, cut)
    return state._replace(sums=kept_low(state.sums)), spent.sum(0)


def read(
    rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place, state: State
) -> tuple[Attended, State]:
    """Rows that see what `state` holds and nothing else; of keys and values shapes alone are read."""
    state, cut = _begun(rule, own, query, key, value, place, state, None)
    size = len(cut[2][0])
    none = chunks.Seen(jnp.zeros((size, size), bool), jnp.ones(size, bool), jnp.zeros(size, bool))

    @chunks.recomputed
    def step(state, cut):
        out = jax.vmap(functools.partial(_rows, rule, none))(_mapped(rule, own, place, *cut), state.sums)
        return state, (chunks.by_token(out), jnp.broadcast_to(state.visible, size))

    return chunks.attended(*lax.scan(step, state, cut)[1], query, value), state


def quadratic(rule: Rule, own: dict, query: Side, key: Side, value: Float[Array, "s j e"], place: Place) -> Attended:
    """The definition, all pairs at once: the oracle of the other form, in memory that grows with t times s."""
    made, found, seen = _weighed(rule, own, query, key, value, place, slice(None))
    return chunks.attended(chunks.by_token(jax.vmap(jnp.matmul)(found, made.value))[None], seen.sum(-1), query, value)


def weights(
    rule: Rule, own: dict, query: Side, key: Side, value: Array, place: Place, rows: Int[np.ndarray, " r"]
) -> Float[Array, "h r s"]:
    """What some rows give to each key, in memory that grows with r times s; of values shapes alone are read."""
    found = _weighed(rule, own, query, key, value, place, rows)[1]
    found = found.reshape(-1, *found.shape[-2:])[..., : len(key.vector)]
    return found if query.valid is None else jnp.where(query.valid[rows, None], found, 0)


def _weighed(
    rule: Rule, own: dict, query: Side, key: Side, value: Array, place: Place, rows: Int[np.ndarray, " r"] | slice
) -> tuple[_Tokens, Float[Array, "g *h r s"], Bool[Array, "r s"]]:
    """All tokens, the weights of some rows, and the keys that they see."""
    tokens = max(len(query.vector), len(key.vector), 1)
    query, key, value = chunks.even(query, key, value, tokens)
    numbers = jnp.arange(tokens)
    seen = jnp.broadcast_to(key.valid, (len(numbers[rows]), tokens))
    if rule.order == "causal":
        seen = seen & (numbers[rows, None] >= numbers[None])
    if key.segment is not None:
        run = jnp.cumsum(chunks.begins(key.segment, key.segment[0]))
        seen = seen & (run[rows, None] == run[None])

    def one(made: _Tokens):
        asked, left = made.query[..., rows, :], _left(rule, made, numbers[rows])
        logs = jnp.where(seen[..., None], left + made.scale[None], -jnp.inf)
        level = finite(logs.max((1, 2)))
        near = jnp.exp(logs - level[:, None, None])
        if near.shape[-1] == 1:
            found = asked @ made.key.T
            found *= _each(near[..., 0], found)
        else:
            found = jnp.einsum("...tf,sf,tsf->...ts", asked, made.key, near)
        if made.within is not None:
            block = jnp.arange(tokens) // rule.feature.block
            same = block[rows, None] == block[None]
            within = made.within[..., rows, :]
            found = jnp.where(_each(same, found), within * _each(seen, within), found)
        if rule.feature.floor:
            bare = jnp.where(seen, jnp.exp(left[..., 0]), 0)
            found += (rule.feature.floor * asked.sum(-1))[..., None] * _each(bare, found)
        if rule.feature.normalized:
            return _ratio(rule, found, found.sum(-1, keepdims=True))
        reading = made.reading[..., rows]
        return found * jnp.exp(_each(level, reading) + reading)[..., None]

    made = _mapped(rule, own, place, query, key, value)
    return made, jax.vmap(one)(made), seen


def _begun(
    rule: Rule, own: dict, query: Side, key: Side, value: Array, place: Place, state: State | None, chunk: int | None
) -> tuple[State, tuple[Side, Side, Array]]:
    """The state to begin with, and both sides chunk by chunk."""
    block = rule.feature.block
    if block and key.segment is not None:
        raise ValueError(
            f"A feature in blocks of {block} tokens counts them from the first, got segments; give each segment a call "
            f"of its own."
        )
    first, tokens = start(rule, own, query, key, value, place), max(len(query.vector), len(key.vector), 1)
    size = min(block or chunk or (CHUNK if first.sums.level.shape[-1] == 1 else FINE_CHUNK), tokens)
    cut = chunks.cut(query, key, value, size)
    state = first if state is None else state
    if state.sums.total.shape != first.sums.total.shape:
        raise ValueError(
            f"Sums of earlier tokens have the heads, width of values and features {first.sums.total.shape} of this "
            f"call, got a state of {state.sums.total.shape}; go on with the features and sizes that it began with."
        )
    if size > 1:
        # less than the last place of sums that only few chunks are added to
        state = state._replace(sums=state.sums._replace(low=None))
    return varying.alike(state, (own, cut, place)), cut


def _mapped(rule: Rule, own: dict, place: Place, query: Side, key: Side, value: Float[Array, "c j e"]) -> _Tokens:
    """Features of some tokens, heads first, in at least float32."""
    heads, key_heads, value_heads = query.vector.shape[1], key.vector.shape[1], value.shape[1]
    engines.share(heads, key_heads, value_heads)
    kind = wide(value.dtype)
    query, key = (side._replace(vector=side.vector.astype(wide(side.vector.dtype))) for side in (query, key))
    (asked, reading), (held, scale) = (
        rule.feature.map(own["feature"], side._replace(extra=scope(side.extra, "feature")), role, place)
        for side, role in ((query, "query"), (key, "key"))
    )
    decay = rule.decay.log(own["decay"], key._replace(extra=scope(key.extra, "decay")), place)
    # heads that share keys share sums, unless they forget at rates of their own
    groups = key_heads if decay is None and key_heads == value_heads else heads

    def spread(x):
        return jnp.moveaxis(jnp.repeat(x, groups // x.shape[1], axis=1), 1, 0)

    tokens = len(key.vector)
    if decay is None:
        decay = np.zeros((tokens, groups, 1))
    if (held_logs := known(decay)) is not None and not (held_logs <= 0).all():
        raise ValueError(
            f"A decay is a factor of at most 1, whose log is at most 0, got logs up to {held_logs.max():.10g} of "
            f"{type(rule.decay).__name__}; give minus what a token loses, in nats."
        )
    # what is only traced never grows, and keeps everything where it is no number
    decay = jnp.asarray(decay, kind)
    decay = jnp.where(decay <= 0, decay, 0)
    decay = jnp.broadcast_to(decay, (tokens, *decay.shape)) if decay.ndim == 1 else decay
    decay = decay[..., None] if decay.ndim == 2 else decay
    if decay.shape[-1] not in (1, held.shape[-1]):
        raise ValueError(
            f"A decay has one number for a head, or one for each of its {held.shape[-1]} features, got "
            f"{decay.shape[-1]}; take a feature as wide as keys are, or a decay by head."
        )
    if key.valid is not None:
        decay = jnp.where(key.valid[:, None, None], decay, 0)
    scale = jnp.zeros((tokens, key_heads), kind) if scale is None else scale
    reading = jnp.zeros((tokens, heads), kind) if reading is None or rule.feature.normalized else reading

    # XLA for CPU sums products beside an axis of size 1 ten times slower
    shared = (heads // groups,) if heads > groups else ()

    def grouped(x):
        return jnp.moveaxis(x.reshape(tokens, groups, *shared, *x.shape[2:]), 0, 1 + len(shared))

    within = None
    if rule.feature.block:
        within = rule.feature.within(own["feature"], query, key, place).reshape(groups, *shared, tokens, tokens)
    return _Tokens(
        grouped(asked + rule.feature.floor), grouped(reading), spread(held), spread(scale)[..., None],
        spread(decay), spread(value.astype(kind)), within,
    )  # fmt: skip


def _after(rule: Rule, state: State, seen: chunks.Seen, made: _Tokens, key: Side) -> State:
    """The state once the keys of a chunk are in it."""
    sums = jax.vmap(functools.partial(_absorbed, rule, seen))(made, state.sums)
    return State(sums, *chunks.left(state.visible, state.segment, seen, key))


def _absorbed(rule: Rule, seen: chunks.Seen, made: _Tokens, sums: Sums) -> Sums:
    last = len(made.decay) - 1
    left = _left(rule, made, jnp.arange(last, last + 1))[0]
    gained = jnp.where(seen.after[:, None], left + made.scale, -jnp.inf)
    level = leveled(rule.feature.floor, gained.max(0))
    key = made.key * jnp.exp(gained - finite(level)[None])
    bare = jnp.where(seen.after, jnp.exp(left[:, 0]), 0)
    # in this orientation, since a product by the transpose of keys takes twice as long on CPU
    later = Sums(level, made.value.T @ key, key.sum(0), bare @ made.value, bare.sum(), None)
    return added(rule.feature.floor, seen.before[-1], made.decay.sum(0), sums, later)


def _rows(rule: Rule, seen: chunks.Seen, made: _Tokens, sums: Sums) -> Float[Array, "*r c e"]:
    """The output of the rows of a chunk, of one head of `Sums`."""
    spent, left = jnp.cumsum(made.decay, 0), _left(rule, made, jnp.arange(len(made.decay)))
    logs = jnp.where(seen.pairs[..., None], left + made.scale[None], -jnp.inf)
    past = jnp.where(seen.before[:, None], sums.level[None] + spent, -jnp.inf)
    level = finite(leveled(rule.feature.floor, jnp.maximum(logs.max(1), past).max(-1)))
    near, far = jnp.exp(logs - level[:, None, None]), jnp.exp(past - level[:, None])
    if near.shape[-1] == 1:
        weights = made.query @ made.key.T if made.within is None else made.within
        weights *= _each(near[..., 0], weights)
    else:
        weights = jnp.einsum("...tf,sf,tsf->...ts", made.query, made.key, near)
    asked = made.query * _each(far, made.query)
    numerator = weights @ made.value + asked @ sums.total.T
    denominator = weights.sum(-1) + asked @ sums.mass
    if rule.feature.floor:
        floor = rule.feature.floor * made.query.sum(-1)
        bare = jnp.where(seen.pairs, jnp.exp(left[..., 0]), 0)
        bare_past = jnp.where(seen.before, jnp.exp(spent[:, 0]), 0)
        numerator += floor[..., None] * _each(bare @ made.value + bare_past[:, None] * sums.values[None], numerator)
        denominator += floor * _each(bare.sum(-1) + bare_past * sums.count, denominator)
    return _finished(rule, numerator, denominator, _each(level, denominator) + made.reading)


def _each(x: Array, like: Array) -> Array:
    """The same for each of the heads that share a head of `Sums`."""
    return jnp.expand_dims(x, range(like.ndim - x.ndim))


def _left(rule: Rule, made: _Tokens, rows: Int[Array, " r"]) -> Float[Array, "r c #f"]:
    """The log of what is left of each token's key at each of some rows."""
    if rule.decay == Undecayed():
        return jnp.zeros((len(rows), *made.decay.shape), made.decay.dtype)
    return between(made.decay, rows)


def _finished(rule: Rule, numerator: Array, denominator: Array, level: Array) -> Float[Array, "*r c e"]:
    if rule.feature.normalized:
        return _ratio(rule, numerator, denominator[..., None])
    return numerator * jnp.exp(level)[..., None]


def _ratio(rule: Rule, numerator: Array, denominator: Array) -> Array:
    # beside a floor that is not tiny no denominator has a square that underflows
    if rule.feature.floor**4 > jnp.finfo(denominator.dtype).tiny:
        return divide(numerator, denominator)
    return quotient(numerator, denominator)
