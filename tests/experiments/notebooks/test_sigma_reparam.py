"""The notebook runs from top to bottom, and shows what it says."""

import pytest

from tests.support import notebook_run


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    held = notebook_run("sigma_reparam")
    # power iteration from the exact vector; one sum of 6144 products of order 1 in float32
    assert abs(held["norm"] - 1) < 1e-5 and abs(held["cosine"]) < 1e-6
    # the bound lies below 4.2 nats, whose spacings in float32 are 5e-7
    assert held["slack"] > -1e-6
    (plain, collapsed), (kept, least) = (curve[:, -20:].mean(-1) for curve in held["curves"].values())
    assert collapsed < 0.01 < 0.3 < least and kept < plain - 0.3
