"""The notebook runs from top to bottom, and shows what it says."""

import pytest

from tests.support import notebook_run


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    held = notebook_run("performer")
    errors = held["errors"]
    # short vectors: both fall with the number of directions, and trigonometric features err less
    for name in held["features"]:
        first, *_, last = errors[0.25, name, "independent"]
        assert last < first / 8
    assert errors[0.25, "trigonometric", "orthogonal"][-1] < errors[0.25, "positive", "orthogonal"][-1]
    # long ones: they explode, and positive features err more than nothing would
    assert errors[1.0, "trigonometric", "orthogonal"][0] > 1 > errors[1.0, "positive", "orthogonal"][0]
    standard, performer = held["taken"]["standard"], held["taken"]["performer"]
    assert standard[-1] > 3.5 * standard[-2] and performer[-1] < 2.1 * performer[-2] < standard[-2]
    assert held["heard"][0] == held["middle"]
    # float32 sums of a thousand terms, in pieces or at once
    assert held["apart"] < 1e-4 and held["held"][0] == held["held"][1]
