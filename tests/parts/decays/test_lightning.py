"""TransNormer's decay against its equation, and the setting at which it is plain linear attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn.decays import Lightning
from jattn.features import Swish
from jattn.part import Place
from jattn.parts.decays.lightning import rates

TOKENS, HEADS, WIDTH = 21, 4, 3
QUERY, KEY, VALUE = jnp.asarray(np.random.default_rng(0).normal(size=(3, TOKENS, HEADS, WIDTH)), jnp.float32)


def written_out(rates):
    """Each row's sum of lambda^(i - j) (silu q . silu k) v over the keys up to its own, in float64."""
    query, key = (x / (1 + np.exp(-x)) for x in (np.asarray(QUERY, np.float64), np.asarray(KEY, np.float64)))
    out = np.zeros(VALUE.shape)
    for head in range(HEADS):
        for i in range(TOKENS):
            for j in range(i + 1):
                out[i, head] += np.exp(-rates[head] * (i - j)) * (query[i, head] @ key[j, head]) * VALUE[j, head]
    return out


def attended(depth, layer):
    attention = jattn.LinearAttention(feature=Swish(), decay=Lightning(depth))
    return jattn.attend(QUERY, KEY, VALUE, attention, layout=jattn.Layout(layer=layer)).out


# four heads have the slopes 1/4, 1/16, 1/64, 1/256
@pytest.mark.parametrize("layer, share", [(0, 1.00001), (1, 2 / 3 + 1e-5), (3, 1e-5)])
def test_it_is_the_papers_sum(layer, share):
    expected = written_out(share * np.array([1 / 4, 1 / 16, 1 / 64, 1 / 256]))
    # float32 sums of some twenty products of order 1
    np.testing.assert_allclose(attended(4, layer), expected, atol=1e-5)


def test_a_layer_that_is_traced_is_the_same():
    np.testing.assert_allclose(jax.jit(lambda layer: attended(4, layer))(1), attended(4, 1), atol=1e-6)


def test_without_decay_it_is_plain_unnormalized_attention():
    plain = jattn.attend(QUERY, KEY, VALUE, jattn.LinearAttention(feature=Swish())).out
    np.testing.assert_allclose(plain, written_out(np.zeros(HEADS)), atol=1e-5)
    # the last layer forgets 1e-5 of a slope a token
    np.testing.assert_allclose(attended(4, 3), plain, atol=1e-3)


def test_some_heads_of_a_layer_keep_their_own_rates():
    found = Lightning(4).log({}, None, Place(np.array([2, 3]), 4, 4))
    np.testing.assert_allclose(found, -1.00001 / np.array([64, 256]))


def test_the_depth_is_the_models_where_none_is_given():
    attention = jattn.LinearAttention(feature=Swish(), decay=Lightning())
    variables = attention.init(jax.random.key(0), jattn.Dims(HEADS, HEADS, HEADS, WIDTH, WIDTH, depth=4))
    call = functools.partial(jattn.attend, QUERY, KEY, VALUE, attention)
    found = jax.jit(lambda layer: call(variables=variables, layout=jattn.Layout(layer=layer)).out)(1)
    np.testing.assert_allclose(found, attended(4, 1), atol=1e-6)
    # a call by itself is a single layer
    np.testing.assert_allclose(call().out, attended(1, 0), atol=1e-6)


def test_no_layer_grows_and_one_that_is_not_there_is_refused():
    for layer in (4, 9):
        with pytest.raises(ValueError, match=f"counts the layers of the model, got 4 in layer {layer}, which are"):
            rates(HEADS, layer, 4)
        assert (np.asarray(jax.jit(lambda layer: rates(HEADS, layer, 4))(layer)) > 0).all()


def test_a_depth_below_1_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Lightning(0)
