"""Scalable softmax against its formula, the picture in its paper, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.scalable_softmax import ScalableSoftmax, strength
from tests.support import compiled_attend as attend


def variables(*strengths):
    return Variables({"score": {"0": {"strength": jnp.asarray(strengths)}}}, {})


def largest(length, strength):
    """The weight of a logit of 3 among logits of -2, read off values that mark it."""
    key = jnp.full((length, 1, 1), -2.0).at[-1].set(3.0)
    value = jnp.zeros((length, 1, 1)).at[-1].set(1.0)
    attention = Attention(score=ScalableSoftmax(), scale=1.0)
    return attend(jnp.ones((1, 1, 1)), key, value, attention, variables=variables(strength)).out[0, 0, 0]


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_the_largest_weight_survives_any_length_at_the_strength_of_figure_one(length):
    want = length ** (0.43 * 3) / (length ** (0.43 * 3) + (length - 1) * length ** (0.43 * -2))
    found = largest(length, 0.43)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    # softmax falls from 0.94 through 0.60 to 0.13
    assert found > 0.93


def test_attention_equals_the_equation_written_out():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(9, 2, 4)) for _ in range(3))
    strengths = (0.3, 1.1)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x) for x in (q, k, v)]
        found = attend(*arrays, Attention(score=ScalableSoftmax(), mask=Causal()), variables=variables(*strengths))
    for t, h in np.ndindex(9, 2):
        # n to the power of the logit
        weights = np.array([(t + 1.0) ** (strengths[h] * q[t, h] @ k[s, h] / 2) for s in range(t + 1)])
        np.testing.assert_allclose(found.out[t, h], weights / weights.sum() @ v[: t + 1, h], rtol=1e-12)


def test_padding_is_not_counted():
    rng = np.random.default_rng(1)
    q, k, v = (jnp.asarray(rng.normal(size=(9, 1, 4)), jnp.float32) for _ in range(3))
    attention = Attention(score=ScalableSoftmax())
    padded = attend(q, k, v, attention, variables=variables(0.5), layout=Layout(valid=jnp.asarray(6)))
    alone = attend(q[:6], k[:6], v[:6], attention, variables=variables(0.5))
    # the same six keys, summed in another order
    np.testing.assert_allclose(padded.out[:6], alone.out, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_the_strength_is_the_mean_logit_times_the_log():
    rng = np.random.default_rng(2)
    q, k, v = (jnp.asarray(rng.normal(size=(7, 1, 4)), jnp.float32) for _ in range(3))
    attention = Attention(score=ScalableSoftmax())
    read = lambda s: attend(q, k, v, attention, variables=variables(s)).stats.log_normalizer.sum()  # noqa: E731
    logits = np.einsum("thd,shd->ts", q, k) / 2
    weights = np.exp(0.5 * np.log(7) * logits)
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(jax.grad(read)(0.5), (weights * logits).sum() * np.log(7), rtol=1e-5)


def test_the_strength_starts_where_the_factor_is_one_on_average():
    np.testing.assert_allclose(strength(1024) * np.log(np.arange(1, 1025)).mean(), 1, rtol=1e-12)
    start = ScalableSoftmax().params(jax.random.key(0), Dims(3, 3, 3, 4, 4))["strength"]
    np.testing.assert_allclose(start, [strength(1024)] * 3, rtol=1e-6)


def test_a_context_out_of_range_is_refused():
    with pytest.raises(ValueError, match="ScalableSoftmax.context must be at least 2 tokens, got 1"):
        ScalableSoftmax(context=1)
