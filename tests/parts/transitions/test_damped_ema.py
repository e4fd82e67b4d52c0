"""The damped moving average's factors, where a float can hardly tell them from 0 or 1, and what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np

from jattn.part import Dims
from jattn.parts.transitions.damped_ema import DampedEma, log_decay


def test_logs_are_accurate_near_0_and_near_1():
    delta, alpha = (x.ravel().astype(np.float32) for x in np.meshgrid([-60, -20, -1, 0, 2, 8, 14], [-9, 0, 0.5, 14]))
    # 1 - sigmoid(a) sigmoid(b) = (e^-a + e^-b + e^-a-b) / ((1 + e^-a) (1 + e^-b)), without a difference
    a, b = np.exp(-delta.astype(float)), np.exp(-alpha.astype(float))
    product = 1 / ((1 + a) * (1 + b))
    want = np.where(product < 0.5, np.log1p(-product), np.log((a + b + a * b) * product))
    found = jax.jit(log_decay)(delta[None], alpha[None])[0]
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_an_average_that_keeps_nothing_is_finite():
    slope = jax.jit(jax.value_and_grad(lambda delta, alpha: log_decay(delta, alpha).sum(), (0, 1)))
    for each in (-500.0, 500.0):
        far = jnp.full((1, 2), each)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope(far, far)))


def test_averages_start_with_signs_that_alternate():
    made = DampedEma(5).init(jax.random.key(0), Dims(1, 1, 1, 3, 3, model_width=3)).params
    np.testing.assert_array_equal(np.sign(made["beta"]), np.broadcast_to([1, -1, 1, -1, 1], (3, 5)))
