"""Logits over the number of visible keys, on every engine."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.laplace import Laplace
from jattn.parts.scores.per_visible import PerVisible
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import assert_tiled_equals_dense, float64, padded_layout, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend


def drawn(tokens=9):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=(tokens, 2, 4)), jnp.float32) for _ in range(3)]


def test_rows_are_softer_by_the_keys_they_see_and_the_bias_stays_whole():
    q, k, v = drawn()
    attention = Attention(score=(PerVisible(), T5Bias()), mask=Causal() & Window(3), scale=1)
    table = np.random.default_rng(1).normal(size=(2, 32)).astype(np.float32)
    found = attend(q, k, v, attention, variables=Variables({"score": {"1": {"table": jnp.asarray(table)}}}, {}))
    for t, h in np.ndindex(9, 2):
        seen = range(max(0, t - 3), t + 1)
        logits = np.array([q[t, h] @ k[s, h] / len(seen) + table[h, t - s] for s in seen])
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(
            found.out[t, h], weights @ np.asarray(v[seen.start : t + 1, h]), rtol=1e-4, atol=1e-6
        )


def test_padding_is_not_counted():
    q, k, v = drawn()
    attention = Attention(score=PerVisible())
    padded = attend(q, k, v, attention, layout=Layout(valid=jnp.asarray(6)))
    # the same six keys, summed in another order
    np.testing.assert_allclose(padded.out[:6], attend(q[:6], k[:6], v[:6], attention).out, rtol=1e-5, atol=1e-6)


def test_tiled_equals_dense_under_the_laplace_function(float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    attention = Attention(score=(PerVisible(), T5Bias()), mask=Causal(), normalizer=Laplace(), scale=1)
    assert_tiled_equals_dense(attention, padded_layout())


def test_the_gradient_carries_the_count():
    q, k, v = drawn()
    read = lambda q, score: attend(q, k, v, Attention(score=score)).stats.log_normalizer.sum()  # noqa: E731
    plain, divided = (jax.grad(read)(jnp.zeros_like(q), score) for score in ((), PerVisible()))
    np.testing.assert_allclose(9 * divided, plain, rtol=1e-5, atol=1e-6)
