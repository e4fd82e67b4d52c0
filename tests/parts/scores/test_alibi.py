"""ALiBi against the numbers in its paper and a loop over pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.attention import attend as uncompiled
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.alibi import Alibi, slopes
from tests.support import compiled_attend as attend


def test_slopes_of_eight_heads_halve_from_a_half():
    # section 3: a geometric series that starts at 1/2 and ends at 1/256
    np.testing.assert_allclose(slopes(8), [2.0**-n for n in range(1, 9)], rtol=1e-15)


def test_slopes_of_sixteen_heads_lie_between():
    # section 3: the geometric mean of each two neighbors is put between them
    np.testing.assert_allclose(slopes(16), [2.0 ** -(n / 2) for n in range(1, 17)], rtol=1e-15)


@pytest.mark.parametrize(
    ("heads", "powers"),
    [
        (1, [8]),
        (3, [4, 8, 2]),
        (6, [2, 4, 6, 8, 1, 3]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_other_counts_take_every_other_rate_of_the_next_power(heads, powers):
    np.testing.assert_allclose(slopes(heads), [2.0**-n for n in powers], rtol=1e-15)


def by_hand(q, k, v, rates, mask):
    logits = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
    for h, t, s in np.ndindex(logits.shape):
        logits[h, t, s] = logits[h, t, s] - rates[h] * abs(t - s) if mask(t, s) else -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), v)


def test_attention_equals_the_equation_written_out():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(9, 3, 4)) for _ in range(3))
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x) for x in (q, k, v)]
        causal = attend(*arrays, Attention(score=Alibi(), mask=Causal()))
        both = attend(*arrays, Attention(score=Alibi()))
    rates = [1 / 16, 1 / 256, 1 / 4]
    np.testing.assert_allclose(causal.out, by_hand(q, k, v, rates, lambda t, s: s <= t), rtol=1e-12)
    np.testing.assert_allclose(both.out, by_hand(q, k, v, rates, lambda t, s: True), rtol=1e-12)


def test_shifting_both_positions_changes_nothing():
    rng = np.random.default_rng(1)
    q, k, v = (jnp.asarray(rng.normal(size=(9, 2, 4)), jnp.float32) for _ in range(3))
    attention = Attention(score=Alibi(), mask=Causal())
    moved = attend(q, k, v, attention, layout=Layout(positions=jnp.arange(9) + 1000))
    np.testing.assert_array_equal(attend(q, k, v, attention).out, moved.out)


def test_some_heads_of_a_layer_keep_their_own_slopes():
    rng = np.random.default_rng(2)
    q, k, v = (jnp.asarray(rng.normal(size=(9, 6, 4)), jnp.float32) for _ in range(3))
    attention = Attention(score=Alibi())
    here = np.array([1, 4])
    # numbers of heads are no arrays to trace
    some = uncompiled(q[:, here], k[:, here], v[:, here], attention, layout=Layout(head=(here, 6, 6)))
    # the same sums of nine terms, compiled at another number of heads
    np.testing.assert_allclose(some.out, attend(q, k, v, attention).out[:, here], rtol=1e-5)


def test_gradients_of_equal_keys_follow_the_distance():
    # with all vectors 0 the weights are exp(-distance / 256) over their sum, and d out / d v is the weights
    zero, v = jnp.zeros((4, 1, 2)), jnp.ones((4, 1, 1))
    attention = Attention(score=Alibi(), mask=Causal())
    gradient = jax.grad(lambda v: attend(zero, zero, v, attention).out[3, 0, 0])(v)
    want = np.exp(-np.array([3, 2, 1, 0]) / 256)
    np.testing.assert_allclose(gradient[:, 0, 0], want / want.sum(), rtol=1e-6)
