"""FAVOR+ as a call: the normalized products of features written out, no key heard before its turn, decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def written_out(name: str, key: np.ndarray, order: str = "causal") -> np.ndarray:
    """The weights in float64, as the paper has them but for the largest exponent, which is that up to each row."""
    feature, query = CASES[name], qkv()[0]
    made = LinearAttention(feature).init(KEY, Dims(1, 1, 1, WIDTH, TOKENS))
    matrix = np.asarray(made.buffers["feature"]["projection"]["matrix"], float)
    x, y = (v[:, 0].astype(float) * (1 if name == "generalized" else WIDTH**-0.25) for v in (query, key))
    seen = np.tril(np.ones((TOKENS, TOKENS))) if order == "causal" else np.ones((TOKENS, TOKENS))
    asked, held = x @ matrix.T, y @ matrix.T
    if name == "generalized":
        weights = (np.maximum(asked, 0) + 1e-3) @ (np.maximum(held, 0) + 1e-3).T
    elif name == "trigonometric":
        length = np.square(y).sum(-1) / 2
        weights = np.cos(asked[:, None] - held[None]).sum(-1) * np.exp(length - length.max())
    else:
        if name == "hyperbolic":
            asked, held = (np.concatenate([v, -v], -1) for v in (asked, held))
        asked = np.exp(asked - np.square(x).sum(-1, keepdims=True) / 2 - asked.max(-1, keepdims=True)) + feature.floor
        bare = held - np.square(y).sum(-1, keepdims=True) / 2
        # without a floor, what is divided by does not matter: the largest of all keeps it from overflowing
        counted = held if feature.floor else bare
        level = counted.max(-1)
        level = np.maximum.accumulate(level) if order == "causal" else np.full(TOKENS, level.max())
        weights = np.zeros((TOKENS, TOKENS))
        for row in range(TOKENS):
            last = row + 1 if order == "causal" else TOKENS
            weights[row, :last] = (np.exp(bare[:last] - level[row]) + feature.floor) @ asked[row]
    weights = weights * seen
    return weights / weights.sum(-1, keepdims=True)


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
    counts, tokens, seeds = (16, 32, 64, 128, 256), 256, 40
    rng = np.random.default_rng(0)
    query, key = (0.25 * rng.normal(size=(tokens, 1, 16)).astype(np.float32) for _ in range(2))
    value = rng.normal(size=(tokens, 1, 16)).astype(np.float32)
    logits = query[:, 0] @ key[:, 0].T / 4
    want = jax.nn.softmax(logits) @ value[:, 0]
    errors = []
    for count in counts:
        made = feature(Projection(count, "independent"))
        found = jax.vmap(lambda rng, made=made: performer_attention(query, key, value, rng, made, order="full").out)(
            jax.random.split(KEY, seeds)
        )
        errors.append(np.square(found[:, :, 0] - want).mean())
    assert abs(np.polyfit(np.log(counts), np.log(errors), 1)[0] + 1) < 0.2
