"""A linear recurrent unit's ring of factors as it starts, and inputs scaled so that states keep the size of theirs."""

import jax
import numpy as np
import pytest

from jattn.part import Dims
from jattn.parts.transitions.linear_recurrent_unit import LinearRecurrentUnit

DIMS = Dims(1, 1, 1, 1, 1, model_width=4000)


def test_factors_start_evenly_in_the_ring_and_states_of_noise_at_its_size():
    unit = LinearRecurrentUnit(least=0.5, most=0.99, turn=1.0)
    own = unit.init(jax.random.key(0), DIMS).params
    made = unit.diagonal(own, np.zeros((1, 4000), np.float32))
    size, turn = np.exp(made.log_decay), np.asarray(made.phase)
    assert 0.5 <= size.min() * (1 + 1e-5) and size.max() <= 0.99 * (1 + 1e-5)
    assert 0 <= turn.min() and turn.max() <= 1 + 1e-5
    # evenly in area: squares of sizes are uniform, as are the turns
    for found, low, high in ((size**2, 0.25, 0.9801), (turn, 0, 1)):
        shares = np.histogram(found, 10, (low, high))[0] / found.size
        np.testing.assert_allclose(shares, 0.1, atol=0.01)
    # gamma: sum over lags of |lambda|^2l gamma^2 = 1
    gain = np.exp(own["gamma"])
    np.testing.assert_allclose(gain**2 / (1 - size[0] ** 2), 1, rtol=1e-3)
    assert abs((np.abs(made.drive[0] / gain) ** 2).mean() - 1) < 0.02


def test_refusals():
    with pytest.raises(ValueError, match="states must be at least 1, got 0; 16 is a start"):
        LinearRecurrentUnit(0)
    with pytest.raises(ValueError, match="sizes from least to most, 0 <= least < most < 1, got 0.9 and 1.0; the paper"):
        LinearRecurrentUnit(most=1.0)
    with pytest.raises(ValueError, match="turn must be above 0 radians, got 0.0; the paper's is a whole turn"):
        LinearRecurrentUnit(turn=0.0)
