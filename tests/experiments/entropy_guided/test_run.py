"""The arms of the sweep: equal grids, different models, and the penalty's weight as published."""

import math
from pathlib import Path

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_guided"
RUN = listed.executed(FOLDER / "run.py")


def test_fourteen_blocks_have_the_same_rates_and_seeds():
    assert len(RUN.RUNS) == 126 and len(RUN.ARMS) == 14
    for arm in RUN.ARMS:
        assert sum(cell[0] == arm for cell in RUN.CELLS) == 9
    # no two arms are one model and objective
    assert len({(run.model, run.objective) for run in RUN.ARMS.values()}) == 14


def test_the_penalty_weighs_as_much_as_published():
    # lambda times the rows of a batch, in the paper 1e-5 * 128 * 128
    penalty = RUN.ARMS["EReg 0.2"].objective.penalty
    assert math.isclose(penalty.weight * RUN.BATCH * RUN.CONTEXT, 0.16384) and penalty.reduction == "sum_queries"
