"""The Laplace function against its closed form, the squared ReLU that it touches, and attention written out."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.laplace import Laplace, laplace
from jattn.parts.scores.per_visible import PerVisible
from tests.support import compiled_attend as attend
from tests.support import float64  # noqa: F401

MEETING = math.sqrt(0.5)
closed_form = np.vectorize(lambda s: (1 + math.erf((s - 0.70710678) / (0.28209479 * math.sqrt(2)))) / 2)


def test_value_and_slope_meet_those_of_the_squared_relu():
    value, slope = jax.value_and_grad(laplace)(jnp.float32(MEETING))
    np.testing.assert_allclose(value, 0.5, atol=1e-6)
    np.testing.assert_allclose(slope, math.sqrt(2), atol=1e-6)
    square, its_slope = jax.value_and_grad(lambda s: jax.nn.relu(s) ** 2)(jnp.float32(MEETING))
    np.testing.assert_allclose((value, slope), (square, its_slope), atol=1e-6)


def test_weights_are_the_papers_and_never_leave_0_to_1():
    s = np.linspace(-3, 4, 71)
    found = np.asarray(laplace(jnp.asarray(s, jnp.float32)))
    # the paper prints its constants to eight digits
    np.testing.assert_allclose(found, closed_form(s), atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1 and (np.diff(found) >= 0).all()
    np.testing.assert_allclose(laplace(jnp.float32(0)), 0.0061, atol=5e-5)
    np.testing.assert_array_equal(laplace(jnp.asarray([-1e4, 1e4])), [0, 1])


def test_small_weights_keep_their_digits():
    s = jnp.asarray([-1.0, -2.0, -2.5], jnp.float32)
    wanted = [math.erfc((math.sqrt(0.5) - x) * math.sqrt(2 * math.pi)) / 2 for x in s.tolist()]
    assert 0 < wanted[2] < 1e-28
    # the argument of about 8 is rounded to 5e-7 of itself at most, and its square of 65 is the exponent
    np.testing.assert_allclose(laplace(s), wanted, rtol=7e-5)


def test_megas_attention_written_out_with_its_gradient(float64):  # noqa: F811
    random = np.random.default_rng(0)
    q, k, v = (jnp.asarray(random.normal(size=(6, 2, 4)) * 2) for _ in range(3))
    attention = Attention(score=PerVisible(), mask=Causal(), normalizer=Laplace(), scale=1)

    def written_out(q):
        logits = jnp.einsum("thd,shd->hts", q, k) / np.arange(1, 7)[None, :, None]
        # the densities of a normal variable, added up
        weights = (1 + jax.scipy.special.erf((logits - MEETING) * math.sqrt(2 * math.pi))) / 2
        return jnp.einsum("hts,shd->thd", weights * np.tril(np.ones((1, 6, 6))), v)

    found = attend(q, k, v, attention)
    np.testing.assert_allclose(found.out, written_out(q), atol=1e-13)
    got, want = (
        jax.grad(lambda q, f=f: (f(q) * v).sum())(q) for f in (lambda q: attend(q, k, v, attention).out, written_out)
    )
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_row_that_sees_no_key_gives_nothing():
    x = jnp.ones((4, 1, 4))
    found = attend(x, x, x, Attention(normalizer=Laplace()), layout=Layout(valid=(None, jnp.zeros(4, bool))))
    assert not np.asarray(found.out).any() and (np.asarray(found.stats.log_normalizer) == -np.inf).all()
