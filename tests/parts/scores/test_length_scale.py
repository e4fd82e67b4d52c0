"""The attention scalar of Entropy-ABF against its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.length_scale import LengthScale, factor
from tests.support import assert_tiled_equals_dense, float64, padded_layout, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend


def made(tokens, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(tokens, 2, 4)), jnp.float32) for _ in range(3)]


def test_the_papers_context_is_trained_at_4096_and_stretched_to_16384():
    found = factor(jnp.asarray([[1, 100, 4096, 16384]]), LengthScale().context, jnp.float32)
    np.testing.assert_array_equal(found[0, :3], 1)
    np.testing.assert_allclose(found[0, 3], 1.1667, atol=5e-5)


def test_the_factor_is_continuous_at_the_context():
    found = factor(jnp.arange(4090, 4103)[None], 4096, jnp.float32)
    assert (found[0, :7] == 1).all() and (found[0, 7:] > 1).all()
    # one token more is 1 / (4096 log 4096) more
    np.testing.assert_allclose(np.diff(found[0, 6:]), 1 / (4096 * np.log(4096)), rtol=0.01)


def test_an_empty_row_has_a_factor():
    assert factor(jnp.asarray([[0]]), 4096, jnp.float32).tolist() == [[1]]


def test_attention_equals_the_equation_written_out():
    q, k, v = made(11)
    found = attend(q, k, v, Attention(score=LengthScale(context=4), mask=Causal()))
    for t, h in np.ndindex(11, 2):
        logits = np.array([q[t, h] @ k[s, h] / 2 for s in range(t + 1)]) * max(1, np.log(t + 1) / np.log(4))
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.out[t, h], weights @ np.asarray(v[: t + 1, h]), rtol=1e-4, atol=1e-6)


def test_rows_within_the_context_stay_as_they_are():
    q, k, v = made(9)
    plain = attend(q, k, v, Attention(mask=Causal())).out
    scaled = attend(q, k, v, Attention(score=LengthScale(context=5), mask=Causal())).out
    np.testing.assert_array_equal(scaled[:5], plain[:5])
    assert not np.isclose(scaled[5:], plain[5:]).all(-1).any()


def test_padding_is_not_counted():
    q, k, v = made(9)
    attention = Attention(score=LengthScale(context=4))
    padded = attend(q, k, v, attention, layout=Layout(valid=jnp.asarray(6)))
    # the same six keys, summed in another order
    np.testing.assert_allclose(padded.out[:6], attend(q[:6], k[:6], v[:6], attention).out, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_the_first_layers_stay_as_they_are(layer):
    q, k, v = made(9)
    attention = Attention(score=LengthScale(context=2, skip=2))
    found = attend(q, k, v, attention, layout=Layout(layer=layer)).out
    want = attend(q, k, v, Attention() if layer < 2 else Attention(score=LengthScale(context=2))).out
    np.testing.assert_array_equal(found, want)


def test_tiled_equals_dense_beyond_the_context(float64, monkeypatch):  # noqa: F811
    # the contract's lengths lie within the paper's context
    small_tiles(monkeypatch)
    assert_tiled_equals_dense(Attention(score=LengthScale(context=7), mask=Causal()), padded_layout())


def test_the_gradient_carries_the_factor():
    # a row's log-normalizer moves by the mean key, times the factor and the scale of 1/2
    q, k, v = made(9)
    read = lambda q, score: attend(q, k, v, Attention(score=score)).stats.log_normalizer.sum()  # noqa: E731
    plain, scaled = (jax.grad(read)(jnp.zeros_like(q), score) for score in ((), LengthScale(context=3)))
    np.testing.assert_allclose(scaled, 2 * plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"context": 1}, {"skip": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"LengthScale.{next(iter(options))} must be at least"):
        LengthScale(**options)


def test_float64_keeps_its_digits(float64):  # noqa: F811
    found = factor(jnp.asarray([[7]]), 3, jnp.float64)
    np.testing.assert_allclose(found, np.log(7) / np.log(3), rtol=1e-15)
