"""FAVOR+ as a call: the normalized products of features written out, no key heard before its turn, decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.performer import performer_attention
from jattn.part import Dims
from jattn.parts.features.favor import Favor
from jattn.parts.features.generalized import Generalized
from jattn.parts.features.projections import Projection
from jattn.parts.features.trigonometric import Trigonometric

# two chunks and some
TOKENS, WIDTH, FEATURES = 300, 8, 12
MIDDLE = (140, 255)
KEY = jax.random.key(5)
CASES = {
    "published": Favor(Projection(FEATURES)),
    "bare": Favor(Projection(FEATURES), floor=0.0),
    "hyperbolic": Favor(Projection(FEATURES), "hyperbolic", floor=0.0),
    "trigonometric": Trigonometric(Projection(64)),
    "generalized": Generalized(projection=Projection(FEATURES)),
}
some_cases = pytest.mark.parametrize(
    "name", [name if name in ("published", "bare") else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)


@functools.cache
def qkv() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    query, key = (0.5 * rng.normal(size=(TOKENS, 1, WIDTH)) for _ in range(2))
    # rows of weights come out
    return tuple(x.astype(np.float32) for x in (query, key, np.eye(TOKENS)[:, None]))


@functools.cache
def matrix(name: str) -> np.ndarray:
    """The directions that KEY draws, in float64."""
    made = LinearAttention(CASES[name]).init(KEY, Dims(1, 1, 1, WIDTH, TOKENS))
    return np.asarray(made.buffers["feature"]["projection"]["matrix"], float)


@functools.partial(jax.jit, static_argnames=("name", "order"))
def _weights(query, key, matrix, *, name: str, order: str):
    feature = CASES[name]
    x, y = (v[:, 0] * (1 if name == "generalized" else WIDTH**-0.25) for v in (query, key))
    seen = jnp.tril(jnp.ones((TOKENS, TOKENS), bool)) if order == "causal" else jnp.ones((TOKENS, TOKENS), bool)
    asked, held = x @ matrix.T, y @ matrix.T

    def so_far(each):
        return jax.lax.cummax(each) if order == "causal" else jnp.full(TOKENS, each.max())

    if name == "generalized":
        weights = (jax.nn.relu(asked) + 1e-3) @ (jax.nn.relu(held) + 1e-3).T
    elif name == "trigonometric":
        length = jnp.square(y).sum(-1) / 2
        weights = jnp.cos(asked[:, None] - held[None]).sum(-1)
        weights *= jnp.exp(jnp.where(seen, length[None] - so_far(length)[:, None], 0))
    else:
        if name == "hyperbolic":
            asked, held = (jnp.concatenate([v, -v], -1) for v in (asked, held))
        asked = jnp.exp(asked - jnp.square(x).sum(-1, keepdims=True) / 2 - asked.max(-1, keepdims=True)) + feature.floor
        bare = held - jnp.square(y).sum(-1, keepdims=True) / 2
        # without a floor, what is divided by does not matter: the largest of all keys keeps it from overflowing
        level = so_far((held if feature.floor else bare).max(-1))
        heard = jnp.exp(jnp.where(seen[..., None], bare[None] - level[:, None, None], 0)) + feature.floor
        weights = jnp.einsum("tf,tsf->ts", asked, heard)
    weights = jnp.where(seen, weights, 0)
    return weights / weights.sum(-1, keepdims=True)


def written_out(name: str, key: np.ndarray, order: str = "causal") -> np.ndarray:
    """The weights in float64, as the paper has them but for the largest exponent, which is that up to each row."""
    # drawn in float32, as what it is compared to
    given = (qkv()[0].astype(float), key.astype(float), matrix(name))
    with jax.enable_x64(True):
        return np.asarray(_weights(*given, name=name, order=order))


@functools.partial(jax.jit, static_argnames="name")
def one_by_one(query, key, value, *, name: str):
    """Each token by a call of its own, with what the calls before it left; of any batch."""
    attention = LinearAttention(CASES[name])
    dims = Dims.of(query, key, value)
    start = attention.state(dims, query.dtype, attention.own(attention.init(KEY, dims)))
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (*query.shape[:-3], *x.shape)), start)

    def step(state, token):
        found = performer_attention(*(x[..., None, :, :] for x in token), KEY, CASES[name], state=state)
        return found.state, found.out[..., 0, :, :]

    out = jax.lax.scan(step, start, tuple(jnp.moveaxis(x, -3, 0) for x in (query, key, value)))[1]
    return jnp.moveaxis(out, 0, -3)


@some_cases
def test_rows_are_the_papers(name):
    query, key, value = qkv()
    found = performer_attention(query, key, value, KEY, CASES[name]).out[:, 0]
    # float32: weights of at most 1
    np.testing.assert_allclose(found, written_out(name, key), atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert name == "trigonometric" or (found >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rows_that_see_all_keys_are_the_papers(name):
    query, key, value = qkv()
    found = performer_attention(query, key, value, KEY, CASES[name], order="full").out[:, 0]
    np.testing.assert_allclose(found, written_out(name, key, "full"), atol=1e-5)


@some_cases
def test_a_hundredfold_key_is_not_heard_before_its_turn(name):
    query, key, value = qkv()
    calm = performer_attention(query, key, value, KEY, CASES[name]).out
    for middle in MIDDLE:
        loud = key.copy()
        loud[middle] *= 100
        found = performer_attention(query, loud, value, KEY, CASES[name]).out
        np.testing.assert_array_equal(found[:middle], calm[:middle])
        np.testing.assert_allclose(found[middle:, 0], written_out(name, loud)[middle:], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["chunked", "single"])
@pytest.mark.parametrize("name", CASES)
def test_wherever_in_its_chunk_a_hundredfold_key_is_not_heard_before_its_turn(name, form):
    query, key, _ = qkv()
    value = np.random.default_rng(1).normal(size=(TOKENS, 1, 5)).astype(np.float32)
    middle = np.arange(128, 256)
    loud = np.where((np.arange(TOKENS) == middle[:, None])[..., None, None], 100 * key, key)
    run = functools.partial(one_by_one, name=name)
    if form == "chunked":
        run = lambda *given: performer_attention(*given, KEY, CASES[name]).out  # noqa: E731

    def found(keys):
        return np.asarray(run(*(np.broadcast_to(x, (len(middle), *x.shape[-3:])) for x in (query, keys, value))))

    calm, heard = found(key), found(loud)
    for n, p in enumerate(middle):
        np.testing.assert_array_equal(heard[n, :p], calm[n, :p])
        # weights of sines and cosines have either sign: of some rows the sum nearly cancels, and rounding shows
        if name != "trigonometric":
            np.testing.assert_allclose(heard[n, p:, 0], written_out(name, loud[n])[p:] @ value[:, 0], atol=1e-5)


@some_cases
def test_single_tokens_are_the_chunks(name):
    query, key, value = qkv()
    want = performer_attention(query, key, value, KEY, CASES[name]).out
    np.testing.assert_allclose(one_by_one(query, key, value, name=name), want, atol=1e-5)


@some_cases
def test_gradients_are_those_of_the_written_out_form(name):
    query, key, value = qkv()
    cotangent = np.random.default_rng(2).normal(size=value.shape).astype(np.float32)

    def ours(*given):
        return (performer_attention(*given, KEY, CASES[name]).out * cotangent).sum()

    def papers(query, key, value, matrix):
        weights = _weights(query, key, matrix, name=name, order="causal")
        return ((weights @ value[:, 0]) * cotangent[:, 0]).sum()

    found = jax.jit(jax.grad(ours, (0, 1, 2)))(query, key, value)
    given = (*(x.astype(float) for x in (query, key, value)), matrix(name))
    with jax.enable_x64(True):
        want = jax.jit(jax.grad(papers, (0, 1, 2)))(*given)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name if name == "published" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_padding_is_in_no_sum_and_segments_are_calls_of_their_own(name):
    query, key, value = qkv()
    # both segments have as many valid tokens, for one compiled call
    half = TOKENS // 2
    valid = np.arange(TOKENS) % half % 7 != 3
    # the padded key that would be the largest of all
    junk = [np.where(valid[:, None, None], x, waste) for x, waste in ((query, np.nan), (key, 1e4), (value, np.nan))]
    layout = Layout(valid=jnp.asarray(valid), segments=np.repeat([2, 5], half))
    found, other = (performer_attention(*x, KEY, CASES[name], layout=layout).out for x in ((query, key, value), junk))
    np.testing.assert_array_equal(found, other)
    assert not found[~valid].any()
    for here in (slice(half), slice(half, None)):
        kept = valid[here]
        alone = performer_attention(*(x[here][kept] for x in (query, key, value)), KEY, CASES[name]).out
        np.testing.assert_allclose(found[here][kept], alone, atol=1e-5)
    layout = Layout(valid=jnp.asarray(valid))
    found, other = (
        performer_attention(*x, KEY, CASES[name], order="full", layout=layout).out for x in ((query, key, value), junk)
    )
    np.testing.assert_array_equal(found, other)
    alone = performer_attention(*(x[valid] for x in (query, key, value)), KEY, CASES[name], order="full").out
    np.testing.assert_allclose(found[valid], alone, atol=1e-5)


def test_a_call_goes_on_behind_another_with_the_same_key():
    query, key, value = qkv()
    key = key.copy()
    key[150] *= 100
    whole = performer_attention(query, key, value, KEY, CASES["published"])
    first = performer_attention(query[:150], key[:150], value[:150], KEY, CASES["published"])
    rest = performer_attention(query[150:], key[150:], value[150:], KEY, CASES["published"], state=first.state)
    np.testing.assert_allclose(np.concatenate([first.out, rest.out]), whole.out, atol=1e-5)
    assert jax.tree.map(jnp.shape, first.state) == jax.tree.map(jnp.shape, whole.state)


@pytest.mark.slow
def test_the_toy_of_the_reference():
    ones = jnp.ones((3, 1, 4))
    feature = Favor(Projection(10_000))
    out = performer_attention(ones, ones, jnp.array([1.0, 0, 0])[:, None, None], KEY, feature).out
    # equal keys: whatever is drawn
    np.testing.assert_allclose(out[:, 0, 0], [1, 1 / 2, 1 / 3], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("feature", [Favor, Trigonometric], ids=lambda cls: cls.__name__)
def test_the_error_falls_as_features_grow(feature):
    counts, tokens, seeds = (16, 64, 256), 128, 40
    rng = np.random.default_rng(0)
    query, key = (0.25 * rng.normal(size=(tokens, 1, 16)).astype(np.float32) for _ in range(2))
    value = rng.normal(size=(tokens, 1, 16)).astype(np.float32)
    logits = query[:, 0] @ key[:, 0].T / 4
    want = jnp.einsum("ts,she->the", jax.nn.softmax(logits), value)
    errors = []
    for count in counts:
        made = feature(Projection(count, "independent"))
        found = jax.vmap(lambda rng, made=made: performer_attention(query, key, value, rng, made, order="full").out)(
            jax.random.split(KEY, seeds)
        )
        errors.append(np.square(np.asarray(found) - np.asarray(want)[None]).mean())
    assert abs(np.polyfit(np.log(counts), np.log(errors), 1)[0] + 1) < 0.2


def test_refusals():
    with pytest.raises(TypeError, match="Features are drawn from a key, got int; make one, as in jax.random.key"):
        performer_attention(*qkv(), 0)
    state = performer_attention(*qkv(), KEY, Favor(Projection(6))).state
    with pytest.raises(ValueError, match=r"features .*, 12. of this call, got a state of .*, 6.; go on with"):
        performer_attention(*qkv(), KEY, Favor(Projection(12)), state=state)
