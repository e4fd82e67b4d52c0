"""The notebook runs from top to bottom, and shows what it says."""

import pytest

from tests.support import notebook_run


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    held = notebook_run("memory_efficient")
    # some spacings of float32 at values of order 1; gradients of values sum over 2048 rows
    assert held["apart"]["outputs"] < 1e-6 and held["apart"]["gradients"] < 1e-5
    assert held["ratio"][""] >= 59 and held["ratio"][", gradient"] >= 32
    assert len(set(held["sizes"].values())) == 1 and all(bool(abs(x).max() > 0) for x in held["slopes"])
