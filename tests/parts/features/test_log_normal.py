"""LLN: the variance of softmax's log weights, sums written out, and no later token in the temperatures."""

import functools

import jax
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Variables
from jattn.parts.features.log_normal import LogNormal, temperatures
from tests.support import compiled_attend as attend

TOKENS = 17


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def qkv():
    return draw(TOKENS, 4, 6), 1.5 * draw(TOKENS, 2, 6, seed=1) + 0.2, draw(TOKENS, 2, 5, seed=2)


def attended(query, key, value, buffers, layout=None):
    variables = Variables({}, {"feature": buffers})
    return attend(query, key, value, LinearAttention(LogNormal()), variables=variables, layout=layout)


def serve(query, key, value, buffers):
    return np.asarray(attended(query, key, value, buffers).out)


def buffers_of(query=1.0, key=1.0):
    return {"query_deviation": np.float32(query), "key_deviation": np.float32(key)}


@functools.partial(jax.jit, static_argnums=2)
def renewed(observed, buffers, momentum=0.0):
    attention = LinearAttention(LogNormal(momentum=momentum))
    return attention.refreshed(Variables({}, {"feature": buffers}), observed, jax.random.key(0), 1)["feature"]


def deviations(query, key, layout=None):
    """Buffers as one training step renews them, without what they were before."""
    value = np.zeros((*key.shape[:-1], 1), np.float32)
    return renewed(attended(query, key, value, buffers_of(), layout).stats.observed, buffers_of())


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
    common = ((one * other) ** 2 + 0.35487039130661086) / (2 * 0.14855178144710912)
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


def test_a_step_measures_all_that_is_valid_in_the_batch():
    query, key, value = (np.stack([x, 2 * x]) for x in qkv())
    valid = np.arange(TOKENS) < 11
    junk = [np.where(valid[:, None, None], x, np.nan) for x in (query, key)]
    found = deviations(*junk, Layout(valid=jax.numpy.asarray(valid)))
    # one pass over float32 squares
    np.testing.assert_allclose(found["query_deviation"], query[:, :11].std(), rtol=1e-5)
    np.testing.assert_allclose(found["key_deviation"], key[:, :11].std(), rtol=1e-5)
    seen = attended(query, key, value, buffers_of()).stats.observed["feature"]
    assert seen["key"].shape == (3,) and seen["key"][0] == key.size and seen["query"][0] == query.size


def test_squares_of_deviations_keep_a_share_of_what_they_were():
    query, key, _ = qkv()
    seen = attended(query, key, np.zeros((TOKENS, 2, 1), np.float32), buffers_of()).stats.observed
    found = renewed(seen, buffers_of(2, 3), 0.75)
    np.testing.assert_allclose(found["query_deviation"], (0.75 * 4 + 0.25 * query.var()) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(found["key_deviation"], (0.75 * 9 + 0.25 * key.var()) ** 0.5, rtol=1e-5)
    assert renewed(seen, buffers_of(2, 3), 1.0) == buffers_of(2, 3)


def test_what_was_not_seen_or_does_not_vary_changes_no_deviation():
    nothing = {"feature": {"query": np.zeros(3, np.float32), "key": np.array([50, 100, 200], np.float32)}}
    assert renewed(nothing, buffers_of(2, 3)) == renewed({}, buffers_of(2, 3)) == buffers_of(2, 3)


def test_deviations_are_buffers():
    variables = LogNormal(2.0, 0.5).init(jax.random.key(0), Dims(4, 2, 2, 6, 5))
    assert not variables.params and variables.buffers == buffers_of(2, 0.5)


def test_measuring_has_no_gradient():
    query, key, value = qkv()

    def loss(key):
        seen = attended(query, key, value, buffers_of()).stats.observed["feature"]
        return seen["query"].sum() + seen["key"].sum()

    assert not np.asarray(jax.jit(jax.grad(loss))(key)).any()


def test_refusals():
    with pytest.raises(ValueError, match="query_deviation must be above 0 and finite, got 0"):
        LogNormal(0)
    for deviation in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"key_deviation must be above 0 and finite, got {deviation}"):
            LogNormal(1.0, deviation)
    with pytest.raises(ValueError, match="momentum must lie in 0 to 1, got 1.5"):
        LogNormal(momentum=1.5)
