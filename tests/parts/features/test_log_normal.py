"""LLN: the variance of softmax's log weights, sums written out, and no later token in the temperatures."""

import jax
import numpy as np
import pytest

from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Variables
from jattn.parts.features.log_normal import LogNormal, deviations, temperatures
from tests.support import compiled_attend as attend

TOKENS = 17


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def qkv():
    return draw(TOKENS, 4, 6), 1.5 * draw(TOKENS, 2, 6, seed=1) + 0.2, draw(TOKENS, 2, 5, seed=2)


def serve(query, key, value, buffers):
    attention = LinearAttention(LogNormal())
    return np.asarray(attend(query, key, value, attention, variables=Variables({}, {"feature": buffers})).out)


# width 64, 1024 tokens, a draw: log weights vary as those of softmax at deviation 1, by a fifth more at 1.3
@pytest.mark.parametrize("deviation, share", [(1.0, 1.02), (1.3, 1.17)])
def test_log_weights_vary_as_those_of_softmax(deviation, share):
    query, key = deviation * np.random.default_rng(0).normal(size=(2, 1024, 64))
    alpha, beta = (float(x) for x in temperatures(np.float32(deviation), np.float32(deviation)))
    found = np.log(np.exp(alpha * query) @ np.exp(beta * key).T).var()
    assert abs(found / (query @ key.T / 8).var() - share) < 0.05


def test_rows_are_the_papers():
    query, key, value = qkv()
    found = serve(query, key, value, deviations(query, key))
    one, other = query.astype(float).std(), key.astype(float).std()
    common = ((one * other) ** 2 + 0.35487039) / (2 * 0.14855178)
    want = np.zeros(found.shape)
    for t, h in np.ndindex(TOKENS, 4):
        asked = np.exp(common**0.5 / one * query[t, h].astype(float))
        weights = np.exp(common**0.5 / other * key[: t + 1, h // 2].astype(float)) @ asked
        want[t, h] = weights @ value[: t + 1, h // 2] / weights.sum()
    # float32 exponents up to 8, weighted means of 17 values of order 1
    np.testing.assert_allclose(found, want, atol=2e-5)


def test_keys_that_all_move_by_one_number_change_nothing():
    query, key, value = qkv()
    buffers = deviations(query, key)
    # exponents of about 30 in float32
    np.testing.assert_allclose(serve(query, key + 10, value, buffers), serve(query, key, value, buffers), atol=5e-5)


def test_kept_deviations_hear_no_later_key_and_measured_ones_do():
    query, key, value = qkv()
    louder = key.copy()
    louder[9] *= 100
    kept, before = deviations(query, key), serve(query, key, value, deviations(query, key))
    np.testing.assert_array_equal(serve(query, louder, value, kept)[:9], before[:9])
    assert np.abs(serve(query, louder, value, deviations(query, louder))[:9] - before[:9]).max() > 0.1


def test_padding_is_not_measured():
    query, key, _ = qkv()
    valid = np.arange(TOKENS) < 11
    found = deviations(np.where(valid[:, None, None], query, np.nan), key, (valid, np.ones(TOKENS, bool)))
    np.testing.assert_allclose(found["query_deviation"], query[:11].std(), rtol=1e-5)
    np.testing.assert_allclose(found["key_deviation"], key.std(), rtol=1e-5)


def test_deviations_are_buffers_that_training_keeps():
    made = LogNormal(2.0, 0.5)
    variables = made.init(jax.random.key(0), Dims(4, 2, 2, 6, 5))
    assert not variables.params and {k: float(v) for k, v in variables.buffers.items()} == {
        "query_deviation": 2,
        "key_deviation": 0.5,
    }
    assert made.refreshed(variables, {}, jax.random.key(1), 3) == variables.buffers


def test_refusals():
    with pytest.raises(ValueError, match="query_deviation must be above 0, got 0"):
        LogNormal(0)
    with pytest.raises(ValueError, match="key_deviation must be above 0, got nan"):
        LogNormal(1.0, float("nan"))
