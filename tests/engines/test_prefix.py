"""The engine of linear attention: chunks and single tokens give what all pairs, written out, give."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks.turns import temporary_bytes
from jattn.engines import prefix
from jattn.engines.prefix import Rule
from jattn.part import Dims, Place, Side, part
from jattn.parts.decays import Decay, Undecayed
from jattn.parts.decays.retention import Retention
from jattn.parts.features import Feature
from jattn.parts.features.elu import Elu
from jattn.parts.features.mixed_chunk import MixedChunk
from tests.support import assert_close, cast, float64, largest_intermediate  # noqa: F401

CHUNK, TOKENS, FEWER = 16, 53, 29
HEADS, WIDTH, FEATURES, VALUE_WIDTH = 4, 8, 6, 5


@part
class Exponential(Feature):
    """Learned directions, exponentials whose largest is a factor apart."""

    floor: float = 0.0

    def params(self, rng, dims):
        return {"kernel": jax.random.normal(rng, (FEATURES, dims.key_width)) / 2}

    def map(self, own, side, role, place):
        logs = side.vector @ own["kernel"].T
        top = logs.max(-1)
        return jnp.exp(logs - top[..., None]), top


@part
class Raw(Feature):
    """The vectors themselves, not divided by any sum."""

    normalized = False

    def map(self, own, side, role, place):
        return side.vector, (side.vector**2).sum(-1) / 9


@part
class Gated(Decay):
    """A factor for each head and token, from what the caller gives and a learned number."""

    def params(self, rng, dims):
        return {"rate": jnp.ones(dims.heads)}

    def log(self, own, key, place):
        return -own["rate"][None] * jax.nn.softplus(key.extra["gate"])


@part
class Fine(Decay):
    """A factor for each feature, so small that products of them leave float64 where one divides by them."""

    def log(self, own, key, place):
        return -20 * jax.nn.softplus(key.extra["fine"])


@part
class Resets(Decay):
    """Keeps nothing from before some tokens, and from token to token a fixed share."""

    begins: tuple[int, ...] = (-1,)

    def log(self, own, key, place):
        kept = jnp.where(jnp.isin(key.index, jnp.asarray(self.begins)), -jnp.inf, -0.1)
        return jnp.broadcast_to(kept[:, None], (len(kept), len(place.head)))


class Case(NamedTuple):
    """A rule, how many queries, keys, key heads and value heads it is tried with, and what tokens belong to."""

    rule: Rule
    queries: int = TOKENS
    keys: int = TOKENS
    heads: tuple[int, int] = (2, 2)
    segments: np.ndarray | None = None


def runs(tokens):
    """Segments longer and shorter than a chunk, of which one number comes back."""
    return np.repeat([3, 0, 3, 1], [7, 2, 21, tokens - 30])


CASES = {
    "elu": Case(Rule(Elu()), segments=runs(TOKENS)),
    "exponential": Case(Rule(Exponential(), Retention()), heads=(1, 2)),
    "floor, gated": Case(Rule(Exponential(floor=0.1), Gated()), segments=runs(TOKENS)),
    "floor, fewer queries": Case(Rule(Exponential(floor=0.1)), queries=FEWER, heads=(4, 1)),
    "raw, fewer keys": Case(Rule(Raw(), Retention()), keys=FEWER),
    "fine": Case(Rule(Raw(), Fine()), segments=runs(TOKENS)),
    "full, fewer keys": Case(Rule(Exponential(floor=0.1), order="full"), keys=FEWER),
    "blocks": Case(Rule(MixedChunk(CHUNK)), heads=(2, 1)),
}
# what no other case has: gates and floors, a factor for each row, one sum for all rows, other weights in a block
USUAL = {"floor, gated", "raw, fewer keys", "full, fewer keys", "blocks"}
every_case = pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)


def drawn(case, seed=0):
    """Float64 data of a case and its learned arrays, by name."""
    rng = np.random.default_rng(seed)
    key_heads, value_heads = case.heads
    fine = WIDTH if isinstance(case.rule.feature, Raw) else FEATURES
    dims = Dims(HEADS, key_heads, value_heads, WIDTH, VALUE_WIDTH)
    own = {
        name: held.init(jax.random.key(seed), dims).params
        for name, held in (("feature", case.rule.feature), ("decay", case.rule.decay))
    }
    data = {
        "query": rng.normal(size=(case.queries, HEADS, WIDTH)),
        "key": rng.normal(size=(case.keys, key_heads, WIDTH)),
        "value": rng.normal(size=(case.keys, value_heads, VALUE_WIDTH)),
        "gate": rng.normal(size=(case.keys, HEADS)),
        "fine": rng.normal(size=(case.keys, HEADS, fine)),
        "own": jax.tree.map(lambda x: np.asarray(x, float), own),
    }
    return jax.tree.map(jnp.asarray, data)


def valid(tokens):
    """Padding at the start, so that the first rows see no key, in the middle and at the end."""
    found = np.arange(tokens) % 7 != 4
    found[:2] = found[-3:] = False
    return found


def sides(case, data, start=0):
    """What the engine takes of the data, and where heads lie."""

    def side(vector, valid, extra):
        here = start + np.arange(len(vector))
        segment = None if case.segments is None else jnp.asarray(case.segments[here])
        return Side(vector, here, here, segment, valid, len(vector), extra)

    extra = {"gate": data["gate"], "fine": data["fine"]}
    rows, keys = (data.get(name) for name in ("rows valid", "keys valid"))
    place = Place(np.arange(HEADS), HEADS, case.heads[0])
    return side(data["query"], rows, {}), side(data["key"], keys, extra), data["value"], place


def padded(case, data):
    return data | {"rows valid": jnp.asarray(np.arange(case.queries) != 5), "keys valid": jnp.asarray(valid(case.keys))}


def chunked(case, data, state=None, chunk=CHUNK):
    query, key, value, place = sides(case, data)
    return prefix.attend(case.rule, data["own"], query, key, value, place, state, chunk)


def quadratic(case, data):
    query, key, value, place = sides(case, data)
    return prefix.quadratic(case.rule, data["own"], query, key, value, place)


def one_by_one(case, data):
    """Each token by an own call, with what the calls before it left."""
    query, key, value, place = sides(case, data)
    own = data["own"]
    start = prefix.start(case.rule, own, query, key, value, place)

    def step(state, token):
        query, key, value = jax.tree.map(lambda x: x[None], token)
        found, state = prefix.attend(case.rule, own, query, key, value, place, state)
        return state, jax.tree.map(lambda x: x[0], found)

    length = jnp.full(len(query.vector), 1)
    tokens = jax.tree.map(jnp.asarray, (query._replace(length=length), key._replace(length=length), value))
    return jax.lax.scan(step, start, tokens)[1]


def explicit(case, data):
    """Output, and keys seen, pair by pair: the product of the factors in between, times those of the features."""
    query, key, value, place = sides(case, data)
    feature, own = case.rule.feature, data["own"]
    asked, reading = feature.map(own["feature"], query, "query", place)
    held, scale = feature.map(own["feature"], key, "key", place)
    logs = jnp.zeros(held.shape[:2]) if scale is None else scale
    held, logs = (jnp.repeat(x, HEADS // case.heads[0], 1) for x in (held, logs))
    value = jnp.repeat(value, HEADS // case.heads[1], 1)
    i, j, k = np.arange(case.queries)[:, None, None], np.arange(case.keys)[:, None], np.arange(case.keys)
    seen, between = np.broadcast_to(j <= i, (case.queries, case.keys, 1))[..., 0], (j < k) & (k <= i)
    if case.rule.order == "full":
        seen = np.ones_like(seen)
    if case.segments is not None:
        begins = np.diff(case.segments, prepend=-1) != 0
        seen = seen & ~(between & begins).any(-1)
    if "keys valid" in data:
        seen = seen & data["keys valid"][None] & data["rows valid"][:, None]
    decay = case.rule.decay.log(own["decay"], key, place)
    decay = jnp.zeros(HEADS) if decay is None else jnp.asarray(decay)
    decay = decay if decay.ndim > 1 else jnp.broadcast_to(decay[None], (case.keys, HEADS))
    decay = decay if decay.ndim > 2 else decay[..., None]
    if "keys valid" in data:
        decay = jnp.where(data["keys valid"][:, None, None], decay, 0)
    left = jnp.einsum("ijk,khf->ijhf", between.astype(float), decay)
    logs = left + logs[None, :, :, None]
    left = left[..., :1]
    if feature.floor:
        top = jnp.where(jnp.asarray(seen)[..., None, None], logs, -jnp.inf).max((1, 3), keepdims=True)
        logs -= jnp.where(jnp.isfinite(top), top, 0)
    heard = held[None] * jnp.exp(logs) + feature.floor * jnp.exp(left)
    weights = jnp.einsum("ihf,ijhf->ijh", asked + feature.floor, heard)
    if feature.block:
        one = i // feature.block == j // feature.block
        weights = jnp.where(one, jnp.maximum(weights, 0) ** 2, weights)
    weights *= seen[..., None]
    out = jnp.einsum("ijh,jhe->ihe", weights, value)
    if feature.normalized:
        total = weights.sum(1)[..., None]
        return jnp.where(total == 0, 0, out / jnp.where(total == 0, 1, total)), seen.sum(-1)
    return out if reading is None else out * jnp.exp(reading)[..., None], seen.sum(-1)


@functools.partial(jax.jit, static_argnames="name")
def everything(data, *, name):
    """Output, visible keys and every gradient of each form, by the form's name."""
    case = CASES[name]
    weights = np.random.default_rng(7).normal(size=(case.queries, HEADS, VALUE_WIDTH))

    def of(form):
        def loss(data):
            out, visible = form(padded(case, data))
            return (out * weights).sum(), (out, visible)

        (_, found), gradients = jax.value_and_grad(loss, has_aux=True)(data)
        return found, gradients

    def read(found):
        return found.out, found.stats.visible[:, 0]

    forms = {"explicit": functools.partial(explicit, case), "chunked": lambda data: read(chunked(case, data)[0])}
    if case.queries == case.keys:
        forms["quadratic"] = lambda data: read(quadratic(case, data))
        if not case.rule.feature.block:
            forms["single"] = lambda data: read(one_by_one(case, data))
    return {name: of(form) for name, form in forms.items()}


@every_case
def test_every_form_is_the_explicit_one(name, float64):  # noqa: F811
    found = everything(drawn(CASES[name]), name=name)
    want = found.pop("explicit")
    for got in found.values():
        # float64: orders of summation differ, some hundred units in the last place
        assert_close(want, got, 1e-12)
    out, visible = want[0]
    empty = {5} if CASES[name].rule.order == "full" else {0, 1, 5}
    assert not out[visible == 0].any() and set(np.flatnonzero(visible == 0)) == empty


def test_gradients_of_state_decay_and_features_are_differences(float64):  # noqa: F811
    case = CASES["floor, gated"]._replace(segments=None)
    data = drawn(case)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(TOKENS, HEADS, VALUE_WIDTH))
    query, key, value, place = sides(case, data)
    start = prefix.start(case.rule, data["own"], query, key, value, place)
    sums = jax.tree.map(lambda x: jnp.asarray(np.abs(rng.normal(size=x.shape))), start.sums._replace(low=None))

    @jax.jit
    def found(learned):
        own, sums = learned
        state = start._replace(sums=sums)
        return jax.value_and_grad(
            lambda given: (
                chunked(case, data | {"own": given[0]}, state._replace(sums=given[1]))[0].out * weights
            ).sum()
        )((own, sums))

    at = jax.device_get((data["own"], sums))
    slopes = jax.tree.leaves(found(at)[1])
    leaves, tree = jax.tree.flatten(at)
    assert len(leaves) == 7
    for number, slope in enumerate(slopes):
        along = rng.normal(size=slope.shape)
        ends = [
            found(jax.tree.unflatten(tree, [x + way * along if n == number else x for n, x in enumerate(leaves)]))[0]
            for way in (1e-6, -1e-6)
        ]
        # the bend of a sum of some hundred terms, at steps of 1e-6
        np.testing.assert_allclose((slope * along).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "feature",
    [pytest.param(Exponential(floor=0.1), marks=pytest.mark.slow), Exponential()],
    ids=["floor", "no floor"],
)
def test_a_decay_of_zero_begins_anew_as_a_segment_does(feature, float64):  # noqa: F811
    segments = runs(TOKENS)
    begins = tuple(int(n) for n in np.flatnonzero(np.diff(segments, prepend=-1)))
    parted = Case(Rule(feature, Resets()), segments=segments)
    reset = Case(Rule(feature, Resets(begins)))
    data = drawn(parted)
    weights = np.random.default_rng(5).normal(size=(TOKENS, HEADS, VALUE_WIDTH))

    @jax.jit
    def slopes(data):
        forms = (parted, chunked), (reset, chunked), (reset, one_by_one)

        def loss(data, case, form):
            found = form(case, data)
            out = (found[0] if form is chunked else found).out
            return (out * weights).sum(), out

        return [
            jax.value_and_grad(functools.partial(loss, case=case, form=form), has_aux=True)(data)
            for case, form in forms
        ]

    want, *others = slopes(data)
    for found in others:
        assert_close(want, found, 1e-12)


SHOUT = Case(Rule(Exponential(floor=0.1), Gated()))


@functools.partial(jax.jit, static_argnames="form")
def heard(data, *, form):
    return chunked(SHOUT, data)[0].out if form == "chunked" else one_by_one(SHOUT, data).out


def test_a_key_a_hundred_times_as_long_changes_no_earlier_row_by_a_bit():
    with jax.enable_x64(True):
        exact, data = jax.jit(lambda data: explicit(SHOUT, data)[0]), drawn(SHOUT)
        data = jax.device_get(cast(data, jnp.float32))
    here = np.arange(TOKENS)[:, None, None]
    loud = {p: data | {"key": np.where(here == p, 100 * data["key"], data["key"])} for p in range(CHUNK, 2 * CHUNK)}
    for form in ("chunked", "single"):
        quiet = np.asarray(heard(data, form=form))
        for p, each in loud.items():
            got = np.asarray(heard(each, form=form))
            np.testing.assert_array_equal(got[:p], quiet[:p])
            with jax.enable_x64(True):
                want = exact(cast(each, jnp.float64))
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
            assert np.abs(got[p] - quiet[p]).max() > 0.1


def test_garbage_in_padding_changes_no_bit():
    case = CASES["floor, gated"]
    data = jax.tree.map(lambda x: x.astype(jnp.float32), drawn(case))
    run = jax.jit(lambda data: chunked(case, padded(case, data))[0].out)
    waste = ~valid(TOKENS).reshape(-1, 1, 1)
    junk = data | {name: jnp.where(waste, 1e4, data[name]) for name in ("key", "value", "fine")}
    junk["gate"] = jnp.where(waste[..., 0], -1e4, data["gate"])
    np.testing.assert_array_equal(run(data), run(junk))


def test_bfloat16_stays_bfloat16():
    case = CASES["elu"]
    data = {name: x if name == "own" else x.astype(jnp.bfloat16) for name, x in drawn(case).items()}
    out = jax.jit(lambda data: chunked(case, data)[0].out)(data)
    assert out.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        want = jax.jit(lambda data: explicit(case, data)[0])(cast(data, jnp.float64))
    # sums are kept in float32: the output alone is rounded, to 8 bits
    np.testing.assert_allclose(np.asarray(out, float), want, rtol=2.0**-8, atol=1e-5)


def gradient(tokens):
    """The gradient of the longest of rules, one head, and shapes for it."""
    here = np.arange(tokens)
    rule = Rule(Elu(), Retention())

    def loss(query, key, value):
        sides = (Side(x, here, here, None, None, tokens, {}) for x in (query, key))
        place = Place(np.arange(1), 1, 1)
        return prefix.attend(rule, {"feature": {}, "decay": {}}, *sides, value, place)[0].out.sum()

    shape = jax.ShapeDtypeStruct((tokens, 1, WIDTH), jnp.float32)
    return jax.grad(loss, (0, 1, 2)), (shape,) * 3


def test_memory_grows_with_the_tokens():
    few, many = (largest_intermediate(function, *shapes) for function, shapes in map(gradient, (1024, 4096)))
    # what chunks carry and what is given, both linear; pairs of a chunk do not grow
    assert many <= 4 * few and many < 4096 * 128


@pytest.mark.slow
def test_memory_of_the_compiled_gradient_grows_with_the_tokens():
    few, many = (
        temporary_bytes(jax.jit(function).lower(*shapes).compile()) for function, shapes in map(gradient, (4096, 16384))
    )
    assert many <= 4.2 * few


def test_refusals():
    with pytest.raises(ValueError, match="no order to decay in, got Retention; leave the decay out"):
        Rule(Elu(), Retention(), "full")
    case = CASES["elu"]._replace(rule=Rule(Elu(), order="full"))
    with pytest.raises(ValueError, match="carries one sum for all rows, got segments"):
        chunked(case, drawn(case))
    for decay, order in ((Retention(), "causal"), (Undecayed(), "full")):
        with pytest.raises(ValueError, match="A feature in blocks of 64 tokens has an order and forgets nothing, got"):
            Rule(MixedChunk(), decay, order)
    case = CASES["blocks"]._replace(segments=runs(TOKENS))
    with pytest.raises(ValueError, match="in blocks of 16 tokens counts them from the first, got segments"):
        chunked(case, drawn(case))
