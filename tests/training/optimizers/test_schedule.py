"""Tests the ends and the top of the schedule, and what lies between."""

import numpy as np
import pytest

from jattn.training.optimizers.schedule import FALLS, schedule


@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("steps", [1000, 200, 34])
def test_climbs_to_the_rate_and_ends_at_its_rest(steps, fall):
    rates = np.array([schedule(0.5, steps, 0.03, 0.02, fall)(n) for n in range(steps)])
    climb = max(1, round(0.03 * steps))
    np.testing.assert_allclose(rates[:climb], 0.5 * np.arange(1, climb + 1) / climb, rtol=1e-5)
    np.testing.assert_allclose(rates[-1], 0.01, rtol=1e-5)
    assert np.all(np.diff(rates[climb - 1 :]) < 0)


@pytest.mark.parametrize("steps, warm_up", [(1, 0.03), (2, 1.0), (5, 0.0)])
def test_any_length_gives_finite_rates_above_zero(steps, warm_up):
    for fall in FALLS:
        rates = np.array([schedule(1.0, steps, warm_up, 0.02, fall)(n) for n in range(steps)])
        assert np.all(np.isfinite(rates)) and np.all(rates > 0) and rates.max() <= 1


def test_half_way_down():
    # up to step 9, down over 90 steps
    for fall, share in (("cosine", 0.5 + 0.5 * np.cos(np.pi / 3)), ("linear", 2 / 3)):
        np.testing.assert_allclose(schedule(1.0, 100, 0.1, 0.0, fall)(9 + 30), share, rtol=1e-5)
        np.testing.assert_allclose(schedule(1.0, 100, 0.1, 0.0, fall)(99), 0, atol=1e-7)
