"""The delta rule as a call and in a model: data of the call, decoding, beta from the layer's input, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.delta import DeltaAttention, delta_attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.weights import attention_weights
from jattn.part import Dims, Variables
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.features.mixed_chunk import MixedChunk
from jattn.parts.positions.rotary import Rotary
from tests.support import compiled_attend as attend

BATCH, TOKENS = (2,), 19


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def given(tokens=TOKENS):
    """Queries, keys, values and beta."""
    sizes = ((4, 6), (2, 6), (2, 5))
    beta = np.random.default_rng(9).uniform(size=(*BATCH, tokens, 2)).astype(np.float32)
    return *(draw(*BATCH, tokens, *each, seed=n) for n, each in enumerate(sizes)), beta


def rule(query, key, value, beta):
    """The rule, token by token, in float64."""
    out = np.zeros((*query.shape[:-1], value.shape[-1]))

    def mapped(x):
        x = x.astype(float)
        x = x / (1 + np.exp(-x))
        return x / np.sqrt((x**2).sum() + 1e-6)

    for b, h in np.ndindex(query.shape[0], query.shape[2]):
        state = np.zeros((value.shape[-1], key.shape[-1]))
        for t in range(query.shape[1]):
            k = mapped(key[b, t, h // 2])
            state += beta[b, t, h // 2] * np.outer(value[b, t, h // 2] - state @ k, k)
            out[b, t, h] = state @ mapped(query[b, t, h])
    return out


def test_it_is_the_papers_rule():
    found = delta_attention(*given())
    # float32: sums of some twenty products of order 1
    np.testing.assert_allclose(found.out, rule(*given()), atol=2e-6)
    assert (np.asarray(found.stats.visible) == np.arange(1, TOKENS + 1)[:, None]).all()
    assert found.stats.entropy is found.stats.log_normalizer is found.stats.max_logit is None


def test_segments_are_separate_calls():
    found = delta_attention(*given(), layout=Layout(segments=np.repeat([4, 2, 4], [5, 9, 5])))
    for first, last in ((0, 5), (5, 14), (14, 19)):
        alone = delta_attention(*(x[:, first:last] for x in given()))
        np.testing.assert_allclose(found.out[:, first:last], alone.out, atol=1e-6)
        np.testing.assert_array_equal(found.stats.visible[:, first:last], alone.stats.visible)


def test_padding_with_garbage_changes_no_bit():
    layout = Layout(valid=jnp.asarray(np.arange(TOKENS) % 5 != 2))
    *vectors, beta = given()
    clean, junk = ([np.where(layout.valid[:, None, None], x, waste) for x in vectors] for waste in (0, np.nan))
    found, other = (delta_attention(*each, beta, layout=layout) for each in (clean, junk))
    np.testing.assert_array_equal(found.out, other.out)
    assert not found.out[:, 2::5].any() and not found.stats.visible[:, 2::5].any()
    kept = np.flatnonzero(layout.valid)
    np.testing.assert_allclose(found.out[:, kept], delta_attention(*(x[:, kept] for x in given())).out, atol=1e-6)


def test_a_call_goes_on_behind_another():
    whole, state, found = delta_attention(*given()), None, []
    for first, last in ((0, 7), (7, 8), (8, 19)):
        more = delta_attention(*(x[:, first:last] for x in given()), state=state)
        state = more.state
        found.append(more.out)
    np.testing.assert_allclose(np.concatenate(found, 1), whole.out, atol=1e-6)
    np.testing.assert_allclose(state.keys.total, whole.state.keys.total, atol=1e-6)
    assert (state.length == TOKENS).all() and jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, whole.state)


def test_the_layer_makes_beta_of_its_input():
    attention, x = DeltaAttention(), jnp.asarray(draw(TOKENS, 8))
    own = attention.own(attention.init(jax.random.key(0), Dims(4, 2, 2, 6, 5, model_width=8)))
    beta = attention.project(own, x)["beta"]
    assert own["kernel"].shape == (8, 2)
    np.testing.assert_allclose(beta, 1 / (1 + np.exp(-x @ own["kernel"])), rtol=1e-6)


def test_weights_are_what_a_row_gives_to_each_value():
    *vectors, beta = (jnp.asarray(x[0]) for x in given())
    layout = Layout(extra={"beta": beta}, segments=np.repeat([4, 2], [5, 14]), valid=jnp.arange(TOKENS) != 7)
    want = attend(*vectors, DeltaAttention(), layout=layout).out
    weights = attention_weights(vectors[0], vectors[1], DeltaAttention(), layout=layout, rows=slice(3, 12))
    found = jnp.einsum("hrs,she->rhe", weights, jnp.repeat(vectors[2], 2, 1))
    np.testing.assert_allclose(found, want[3:12], atol=1e-6)
    assert not weights[:, 4:, :5].any() and not weights[:, :, 7].any()


def test_positions_turn_queries_and_keys():
    *vectors, beta = (jnp.asarray(x[0]) for x in given())
    layout, turning = Layout(extra={"beta": beta}), DeltaAttention(position=Rotary())
    start = turning.state(Dims(4, 2, 2, 6, 5), jnp.float32, turning.own(None))
    whole, first = attend(*vectors, turning, layout=layout), attend(
        *(x[:9] for x in vectors), turning, layout=Layout(extra={"beta": beta[:9]}), state=start
    )  # fmt: skip
    rest = Layout(extra={"beta": beta[9:]})
    rest = attend(*(x[9:] for x in vectors), turning, layout=rest, state=first.state)
    np.testing.assert_allclose(np.concatenate([first.out, rest.out]), whole.out, atol=1e-6)
    assert np.abs(whole.out - attend(*vectors, DeltaAttention(), layout=layout).out).max() > 0.01


def test_features_that_observe_do_here_too():
    *vectors, beta = (jnp.asarray(x[0]) for x in given())
    layout, feature = Layout(extra={"beta": beta}), LogNormal()
    variables = feature.init(jax.random.key(0), Dims(4, 2, 2, 6, 5))
    nested = Variables({}, {"feature": variables.buffers})
    found, want = (
        attend(*vectors, attention, variables=nested, layout=layout).stats.observed
        for attention in (DeltaAttention(feature), LinearAttention(feature))
    )
    assert len(jax.tree.leaves(found)) > 1
    jax.tree.map(np.testing.assert_array_equal, found, want)


def test_refusals():
    *vectors, beta = given()
    with pytest.raises(ValueError, match="what features find, got MixedChunk, whose blocks of"):
        DeltaAttention(MixedChunk())
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\], got numbers from 0 to 1.5; take a sigmoid"):
        delta_attention(*vectors, np.where(beta > 0.5, 1.5, beta))
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\], got numbers from nan to nan"):
        delta_attention(*vectors, np.full_like(beta, np.nan))
    with pytest.raises(ValueError, match="no pairs for a bias to act on, got one"):
        delta_attention(*vectors, beta, layout=Layout(bias=jnp.ones((1, 1, 1))))
    query, key, value = vectors
    state = delta_attention(query, key, value[..., :2], beta).state
    with pytest.raises(ValueError, match=r"of this call, got a state of .*, 2, .*; go on with the features"):
        delta_attention(*vectors, beta, state=state)
