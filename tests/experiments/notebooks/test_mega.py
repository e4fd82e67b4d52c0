"""The notebook runs from top to bottom, and shows what it says."""

import numpy as np
import pytest

from tests.support import notebook_run


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    held = notebook_run("mega")
    # sums of 16 products of order 1 in float32
    assert held["kernels_apart"] < 1e-5 and np.abs(held["kernels"]).max() > 0.1
    # a byte of this text is 3.3 nats by frequency alone
    assert held["curve"][-20:, 0].mean() < 2.6 < held["curve"][0, 0]
    # a row's entropy is at most the log of the keys so far, which are one where a chunk begins
    chunk, entropy = held["chunk"], held["entropy"]
    assert (entropy <= np.log(held["seen"]) + 1e-5).all() and np.abs(entropy[:, ::chunk]).max() < 1e-5
    assert entropy[:, chunk - 1 :: chunk].min() > 0
    # float32 through two blocks, in pieces or at once
    assert held["line"].shape[1] > 3 * chunk and held["steps_apart"] < 1e-3
    assert len(set(held["sizes"])) == 1
    last = {name: cost[-1] for name, cost in held["costs"].items()}
    before = {name: cost[-2] for name, cost in held["costs"].items()}
    # memory of compiled programs; times are shown, and no test of a busy machine
    assert last["whole matrix"][1] > 3.5 * before["whole matrix"][1] and last["chunks"][1] < 2.1 * before["chunks"][1]
    assert last["chunks"][1] <= last["tiles"][1] < last["whole matrix"][1]
