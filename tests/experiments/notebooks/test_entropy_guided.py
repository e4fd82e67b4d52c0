"""The notebook runs from top to bottom, and shows what it says."""

import pytest

from tests.support import notebook_run


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    held = notebook_run("entropy_guided")
    # sums of 256 products of order 1 in float32
    assert held["apart"] < 1e-5
    assert (held["entropies"][1:] > held["entropies"][:-1]).all() and held["entropies"][-1] < held["ceiling"]
    losses = {name: nats[-20:].mean() for name, (nats, _) in held["reached"].items()}
    # a byte of this text is 3.3 nats by frequency alone
    assert min(losses, key=losses.get) == "SM+LN+G" and max(losses.values()) < 3.2
    # without norms the first layers overload and the last collapse
    entropy = held["reached"]["SM"][1]
    assert entropy[0].min() > 0.75 * held["ceiling"] and entropy[-1].max() < 0.25 * held["ceiling"]
