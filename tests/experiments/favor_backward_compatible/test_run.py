"""The arms of `run.py`: what they change, and that all are tuned alike."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed

RUN = listed.executed(Path(__file__).parents[3] / "experiments" / "favor_backward_compatible" / "run.py")


def test_arms_differ_in_when_directions_are_drawn_alone():
    assert {arm.feature.projection.redraw for arm in RUN.ARMS.values()} == {0, 5}
    assert len({(arm.feature.projection.count, arm.position) for arm in RUN.ARMS.values()}) == 1
    assert RUN.MODEL.attention.position == RUN.ARMS["kept"].position


@pytest.mark.parametrize("arm", RUN.ARMS)
def test_tuning_is_a_tenth_of_the_steps_on_another_order_of_windows(arm):
    seeds = {run.seed for run in RUN.RUNS}
    for run in RUN.RUNS:
        tuned = RUN.tuned(run, arm, 1e-3)
        assert 10 * tuned.steps == run.steps and tuned.steps == RUN.READ_AT[-1]
        assert tuned.seed not in seeds and (tuned.batch, tuned.context) == (run.batch, run.context)
