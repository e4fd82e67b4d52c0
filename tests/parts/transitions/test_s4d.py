"""A diagonal state space model against the differential equation that it samples, and as it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import recurrent
from jattn.part import Dims
from jattn.parts.transitions.s4d import S4D
from tests.support import cast, float64  # noqa: F401

DIMS = Dims(1, 1, 1, 3, 3, model_width=3)


def test_an_input_that_stays_is_answered_as_by_the_differential_equation(float64):  # noqa: F811
    transition, tokens = S4D(4), 50
    own = cast(transition.init(jax.random.key(0), DIMS).params, jnp.float64)
    out, _ = jax.jit(lambda own, x: recurrent.recur(transition, own, x))(own, jnp.ones((tokens, 3)))
    held = jax.device_get(own)
    a = -np.exp(held["log_fade"]) + 1j * held["turn"]
    time = np.exp(held["log_step"]) * np.arange(1, tokens + 1)[:, None]
    # h' = A h + 1 from 0, read at the end of each step
    state = (np.exp(a * time[..., None]) - 1) / a
    want = 2 * ((held["read"][0] + 1j * held["read"][1]) * state).real.sum(-1) + held["skip"]
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-11)


def test_it_starts_with_half_turns_that_halve():
    transition = S4D()
    made = transition.init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=2000)).params
    np.testing.assert_allclose(-np.exp(made["log_fade"]), -0.5, rtol=1e-6)
    np.testing.assert_allclose(made["turn"], np.broadcast_to(np.pi * np.arange(32), (2000, 32)), rtol=1e-6)
    steps = np.exp(made["log_step"])
    assert 1e-3 <= steps.min() * (1 + 1e-5) and steps.max() <= 0.1 * (1 + 1e-5)
    assert abs(np.log(steps).mean() - np.log(1e-2)) < 0.1
    assert abs((made["read"] ** 2).sum(0).mean() - 1) < 0.02


def test_refusals():
    with pytest.raises(ValueError, match="states must be at least 1, got 0; the paper's N = 64 are 32 pairs"):
        S4D(0)
    with pytest.raises(ValueError, match="from shortest to longest, both above 0, got 0.2 and 0.1; the paper's are"):
        S4D(shortest=0.2)
