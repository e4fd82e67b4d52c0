"""The engine of the delta rule: chunks and single tokens give what the recurrence, token by token, gives."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks.turns import temporary_bytes
from jattn.engines import delta
from jattn.part import Place, Side, part
from jattn.parts.features import Feature
from tests.support import assert_close, cast, float64, largest_intermediate  # noqa: F401

CHUNK, TOKENS, FEWER = 16, 53, 29
HEADS, WIDTH, FEATURES, VALUE_WIDTH = 4, 6, 7, 5


@part
class Learned(Feature):
    """Learned directions, and a factor that lengths of 1 must not hear."""

    floor: float = 0.25

    def map(self, own, side, role, place):
        return jnp.tanh(side.vector @ own["kernel"].T), 9 * side.vector.sum(-1)


RULE = delta.Rule(Learned())


class Case(NamedTuple):
    """How many queries, keys, key heads, value heads and numbers of beta, and what tokens belong to."""

    queries: int = TOKENS
    keys: int = TOKENS
    heads: tuple[int, int, int] = (2, 2, 2)
    segments: np.ndarray | None = None


# segments longer and shorter than a chunk, of which one number comes back
RUNS = np.repeat([3, 0, 3, 1], [7, 2, 21, TOKENS - 30])
CASES = {
    "segments": Case(segments=RUNS),
    "fewer queries": Case(queries=FEWER, heads=(2, 1, 1)),
    "fewer keys": Case(keys=FEWER, heads=(4, 4, 2)),
}
# the others differ in how sides are made even, which chunks are tested for
every_case = pytest.mark.parametrize(
    "name", [name if name == "segments" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)


def drawn(case, seed=0):
    """Float64 data of a case by name, beta among them from 0 to 1 with both ends."""
    rng = np.random.default_rng(seed)
    key_heads, value_heads, shares = case.heads
    beta = rng.uniform(size=(case.keys, shares))
    beta[3:5], beta[6] = 1, 0
    data = {
        "query": rng.normal(size=(case.queries, HEADS, WIDTH)),
        "key": rng.normal(size=(case.keys, key_heads, WIDTH)),
        "value": rng.normal(size=(case.keys, value_heads, VALUE_WIDTH)),
        "beta": beta,
        "kernel": rng.normal(size=(FEATURES, WIDTH)),
    }
    return jax.tree.map(jnp.asarray, data)


def valid(tokens):
    """Padding at the start, so that the first rows see no key, in the middle and at the end."""
    found = np.arange(tokens) % 7 != 4
    found[:2] = found[-3:] = False
    return found


def sides(case, data):
    """What the engine takes of padded data, and where heads lie."""

    def side(vector, valid, extra):
        here = np.arange(len(vector))
        segment = None if case.segments is None else jnp.asarray(case.segments)
        return Side(vector, here, here, segment, jnp.asarray(valid), len(vector), extra)

    query = side(data["query"], np.arange(case.queries) != 5, {})
    key = side(data["key"], valid(case.keys), {"beta": data["beta"]})
    return {"feature": {"kernel": data["kernel"]}}, query, key, data["value"], Place(
        np.arange(HEADS), HEADS, case.heads[0]
    )  # fmt: skip


def chunked(case, data):
    return delta.attend(RULE, *sides(case, data), chunk=CHUNK)[0]


def one_by_one(case, data):
    """Each token by an own call, with what the calls before it left."""
    own, query, key, value, place = sides(case, data)

    def step(state, token):
        found, state = delta.attend(RULE, own, *jax.tree.map(lambda x: x[None], token), place, state)
        return state, jax.tree.map(lambda x: x[0], found)

    query, key = (side._replace(length=jnp.full(len(side.vector), 1)) for side in (query, key))
    tokens = jax.tree.map(jnp.asarray, (query, key, value))
    return jax.lax.scan(step, delta.start(RULE, own, query, key, value, place), tokens)[1]


def recurrence(case, data):
    """Output, and keys seen: S becomes S (I - beta k k^T) + beta v k^T, token by token."""
    query, key, value = (jnp.repeat(data[name], HEADS // data[name].shape[1], 1) for name in ("query", "key", "value"))
    beta = jnp.repeat(data["beta"], HEADS // case.heads[2], 1)

    def mapped(x):
        x = jnp.tanh(x @ data["kernel"].T) + 0.25
        return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)

    rows, keys = case.queries, np.arange(case.queries) % case.keys
    begins = np.zeros(rows, bool) if case.segments is None else np.diff(case.segments, prepend=-1) != 0
    counts = valid(case.keys)[keys] & (np.arange(rows) < case.keys)

    def step(state, token):
        asked, k, v, b, begins, counts = token
        total, seen = jax.tree.map(lambda x: jnp.where(begins, 0, x), state)
        erased = jnp.einsum("he,hf->hef", jnp.einsum("hef,hf->he", total, k), b[:, None] * k)
        new = total - erased + jnp.einsum("he,hf->hef", v, b[:, None] * k)
        total, seen = jnp.where(counts, new, total), seen + counts
        return (total, seen), (jnp.einsum("hef,hf->he", total, asked), seen)

    start = jnp.zeros((HEADS, VALUE_WIDTH, FEATURES)), jnp.zeros((), int)
    tokens = mapped(query), mapped(key)[keys], value[keys], beta[keys], begins, counts
    out, visible = jax.lax.scan(step, start, jax.tree.map(jnp.asarray, tokens))[1]
    asks = np.arange(rows) != 5
    return out * asks[:, None, None], visible * asks


@functools.partial(jax.jit, static_argnames="name")
def everything(data, *, name):
    """Output, visible keys and every gradient of each form, by the form's name."""
    case = CASES[name]
    weights = np.random.default_rng(7).normal(size=(case.queries, HEADS, VALUE_WIDTH))

    def of(form):
        def loss(data):
            out, visible = form(data)
            return (out * weights).sum(), (out, visible)

        (_, found), gradients = jax.value_and_grad(loss, has_aux=True)(data)
        return found, gradients

    def read(found):
        return found.out, found.stats.visible[:, 0]

    forms = {"recurrence": functools.partial(recurrence, case), "chunked": lambda data: read(chunked(case, data))}
    if case.queries == case.keys:
        forms["single"] = lambda data: read(one_by_one(case, data))
    return {name: of(form) for name, form in forms.items()}


@every_case
def test_every_form_is_the_recurrence(name, float64):  # noqa: F811
    found = everything(drawn(CASES[name]), name=name)
    want = found.pop("recurrence")
    for got in found.values():
        # float64: orders of summation differ, some hundred units in the last place
        assert_close(want, got, 1e-12)
    out, visible = want[0]
    assert not out[visible == 0].any() and set(np.flatnonzero(visible == 0)) == {0, 1, 5}


@functools.partial(jax.jit, static_argnames="form")
def plain(data, *, form=chunked):
    return form(CASES["segments"], data).out


def test_a_key_a_hundred_times_as_long_changes_no_earlier_row_by_a_bit():
    data = cast(drawn(CASES["segments"]), jnp.float32)
    p = CHUNK + 4
    loud = data | {name: data[name].at[p].multiply(100) for name in ("key", "value")}
    for form in (chunked, one_by_one):
        quiet, got = plain(data, form=form), plain(loud, form=form)
        np.testing.assert_array_equal(got[:p], quiet[:p])
        assert np.abs(got[p] - quiet[p]).max() > 0.1


def test_garbage_in_padding_changes_no_bit():
    data = cast(drawn(CASES["segments"]), jnp.float32)
    waste = ~valid(TOKENS)
    junk = data | {name: data[name].at[waste].set(1e4) for name in ("key", "value", "beta")}
    np.testing.assert_array_equal(plain(data), plain(junk))


def test_bfloat16_stays_bfloat16():
    data = cast(drawn(CASES["segments"]), jnp.bfloat16)
    out = plain(data)
    assert out.dtype == jnp.bfloat16
    # sums are kept in float32: the output alone is rounded, to 8 bits
    np.testing.assert_allclose(np.asarray(out, float), plain(cast(data, jnp.float32)), rtol=2.0**-8, atol=1e-5)


def test_equal_keys_hold_the_last_value_where_all_of_it_is_replaced():
    tokens, here = 5, np.arange(5)
    value = jnp.arange(1.0, 6)[:, None, None]
    side = Side(jnp.ones((tokens, 1, 4)), here, here, None, None, tokens, {"beta": jnp.ones((tokens, 1))})
    own = {"feature": {"kernel": jnp.eye(4)}}
    found, state = delta.attend(RULE, own, side, side, value, Place(np.arange(1), 1, 1))
    # lengths are 1 less half of 1e-6 over their square
    np.testing.assert_allclose(found.out[:, 0, 0], value[:, 0, 0], rtol=2e-5)
    assert state.total.shape == (1, 1, 4) and state.visible == tokens


@pytest.mark.parametrize("size", [1, 2, 13, 16])
def test_the_inverse_is_one(size):
    lower = np.tril(np.random.default_rng(size).uniform(-1, 1, (size, size)), -1)
    # float32: entries of the inverse are of order 1 to 100
    np.testing.assert_allclose(
        delta.inverse(jnp.asarray(lower, jnp.float32)), np.linalg.inv(np.eye(size) + lower), rtol=1e-4, atol=1e-4
    )


def gradient(tokens):
    """The gradient for so many tokens of one head, and shapes for it."""
    here = np.arange(tokens)

    def loss(query, key, value, beta):
        sides = (Side(x, here, here, None, None, tokens, {"beta": beta}) for x in (query, key))
        own = {"feature": {"kernel": jnp.eye(WIDTH)}}
        return delta.attend(RULE, own, *sides, value, Place(np.arange(1), 1, 1))[0].out.sum()

    shapes = (jax.ShapeDtypeStruct((tokens, *more), jnp.float32) for more in ((1, WIDTH),) * 3 + ((1,),))
    return jax.grad(loss, (0, 1, 2, 3)), tuple(shapes)


def test_memory_grows_with_the_tokens():
    few, many = (largest_intermediate(function, *shapes) for function, shapes in map(gradient, (512, 2048)))
    # what chunks carry and what is given, both linear; pairs of a chunk do not grow
    assert many <= 4 * few and many < 2048 * 64


@pytest.mark.slow
def test_memory_of_the_compiled_gradient_grows_with_the_tokens():
    few, many = (
        temporary_bytes(jax.jit(function).lower(*shapes).compile()) for function, shapes in map(gradient, (4096, 16384))
    )
    assert many <= 4.2 * few


def test_refusals():
    data = drawn(CASES["segments"])
    own, query, key, value, place = sides(CASES["segments"], data)
    with pytest.raises(ValueError, match="got no 'beta' in the layout's extra; use jattn.delta_attention"):
        delta.attend(RULE, own, query, key._replace(extra={}), value, place)
    with pytest.raises(ValueError, match=r"one for each of its 2 key heads, got the shape \(53, 4\)"):
        delta.attend(RULE, own, query, key._replace(extra={"beta": jnp.ones((TOKENS, 4))}), value, place)
