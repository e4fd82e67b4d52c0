"""Every arm has the same rates, seeds and sizes, and the penalty weighs a row as the paper's does."""

import collections
import math
from pathlib import Path

from jattn.training.sweeps import listed

run = listed.executed(Path(__file__).parents[3] / "experiments" / "entropy_guided" / "run.py")


def test_every_arm_has_the_same_grid():
    grids = collections.defaultdict(set)
    for (arm, rate, seed), each in run.CELLS.items():
        assert (each.optimizer.rate, each.seed, each.steps) == (rate, seed, run.STEPS)
        assert (each.model.width, each.model.depth, each.model.heads) == (64, 4, 4)
        grids[arm].add((rate, seed))
    assert len(grids) == 14 and len(set(map(frozenset, grids.values()))) == 1
    assert len(set(map(repr, run.RUNS))) == len(run.RUNS)


def test_the_normalized_arms_differ_from_softmax_alone_by_their_kernels():
    for name in ("SM+weight norm", "SM+spectral norm"):
        assert run.ARMS[name].model.reparametrization.where == "feedforward"
        assert run.ARMS[name].model.activation == run.ARMS["SM"].model.activation == "identity"


def test_a_row_weighs_as_much_of_the_loss_as_in_the_paper():
    # 1e-5 for each of 128 windows of 128 tokens
    for tolerance in (0.1, 0.2, 0.3):
        penalty = run.ARMS[f"EReg {tolerance}"].objective.penalty
        assert penalty.tolerance == tolerance
        assert math.isclose(penalty.weight * run.BATCH * run.CONTEXT, 1e-5 * 128 * 128)
