"""Kernels that end, the kernel itself, and the lengths of transforms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import recurrent, recurrent_steady
from jattn.part import Dims
from jattn.parts.transitions.s4d import S4D
from tests.support import assert_close, cast, float64  # noqa: F401

TOKENS, CHANNELS, CHUNK = 37, 3, 8
TRANSITION = S4D(2)
X = np.random.default_rng(0).normal(size=(TOKENS, CHANNELS))


@pytest.fixture
def small(monkeypatch):
    """Chunks that the tokens are no multiple of."""
    monkeypatch.setattr(recurrent_steady, "CHUNKS", ((math.inf, CHUNK),))


def learned():
    dims = Dims(1, 1, 1, CHANNELS, CHANNELS, model_width=CHANNELS)
    return cast(TRANSITION.init(jax.random.key(0), dims).params, jnp.float64)


def powers(own):
    """Factors to the power of each lag, by products, and what is put in and read."""
    made = jax.device_get(TRANSITION.diagonal(own, jnp.asarray(X)))
    factor = np.exp(made.log_decay[0] + 1j * made.phase[0])
    found = np.cumprod(np.concatenate([np.ones((1, *factor.shape)), np.stack([factor] * (TOKENS - 1))]), 0)
    return found, made


def test_the_kernel_is_what_one_token_gives(small, float64):  # noqa: F811
    own = learned()
    lags, made = powers(own)
    want = (made.read * made.drive * lags).real.sum(-1)
    want[0] += made.skip[0]
    for length in (1, CHUNK, TOKENS):
        found = recurrent_steady.kernel(TRANSITION.diagonal(own, jnp.asarray(X)), length)
        np.testing.assert_allclose(found, want[:length].T, rtol=0, atol=1e-13)


def by_lags(own, x, taps):
    """Sums over so many tokens, in one array of pairs."""
    made = TRANSITION.diagonal(own, x)
    lag = np.arange(TOKENS)[:, None] - np.arange(TOKENS)
    logs = made.log_decay[0] + 1j * made.phase[0]
    line = (made.read * made.drive * jnp.exp(np.arange(TOKENS)[:, None, None] * logs[None])).real.sum(-1)
    pairs = jnp.where(((lag >= 0) & (lag < taps))[..., None], line[np.maximum(lag, 0)], 0)
    return jnp.einsum("tsc,sc->tc", pairs, x) + made.skip * x


# within a chunk, at and beyond its ends, several chunks, all tokens but one
@pytest.mark.parametrize(
    "taps", [10, 31, *(pytest.param(taps, marks=pytest.mark.slow) for taps in (1, 7, 8, 9, 16, 17, 24, 32, 36))]
)
def test_taps_are_how_many_tokens_a_row_hears(taps, small, float64):  # noqa: F811
    own, weights = learned(), np.random.default_rng(1).normal(size=X.shape)

    def of(form):
        def loss(own, x):
            out = form(own, x)
            return (out * weights).sum(), out

        return jax.value_and_grad(loss, (0, 1), has_aux=True)

    def ended(form):
        return lambda own, x: recurrent.recur(TRANSITION, own, x, form=form, taps=taps)[0]

    @jax.jit
    def everything(own, x):
        return (
            of(lambda own, x: by_lags(own, x, taps))(own, x),
            of(ended("convolution"))(own, x),
            of(ended("chunked"))(own, x),
        )

    want, *found = everything(own, jnp.asarray(X))
    for got in found:
        assert_close(want, got, 1e-12)


def test_behind_a_state_a_kernel_that_ends_leaves_the_state_whole(small, float64):  # noqa: F811
    own, x = learned(), jnp.asarray(X)
    state = recurrent.recur(TRANSITION, own, x)[1]
    whole = jax.jit(lambda x: recurrent.recur(TRANSITION, own, x, state, form="sequential"))
    far, after = whole(jnp.zeros_like(x))[0], whole(x)[1]
    for form in ("convolution", "chunked"):
        out, left = jax.jit(lambda x, form=form: recurrent.recur(TRANSITION, own, x, state, form=form, taps=9))(x)
        np.testing.assert_allclose(out, by_lags(own, x, 9) + far, rtol=0, atol=1e-12)
        np.testing.assert_allclose(left, after, rtol=0, atol=1e-12)


def test_sizes_of_transforms_have_small_factors():
    for least in (1, 2, 7, 8193, 131071):
        found = recurrent_steady.smooth(least)
        smaller = [n for n in range(least, found) if _smooth(n)]
        assert found >= least and _smooth(found) and not smaller


def _smooth(number):
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number == 1
