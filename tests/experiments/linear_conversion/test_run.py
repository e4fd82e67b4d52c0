"""The arms of `run.py`: the same model but for its attention, and the same steps for all."""

import dataclasses
from pathlib import Path

from jattn.mechanisms.linear import LinearAttention
from jattn.training.sweeps import listed, names

RUN = listed.executed(Path(__file__).parents[3] / "experiments" / "linear_conversion" / "run.py")


def test_arms_differ_in_their_features_alone():
    made = {arm: RUN.tuned(0, arm) for arm in (RUN.SOFTMAX, *RUN.FEATURES)}
    softmax = made.pop(RUN.SOFTMAX)
    assert {run.model.attention.feature for run in made.values()} == set(RUN.FEATURES.values())
    for run in made.values():
        attention = run.model.attention
        assert dataclasses.replace(attention, feature=LinearAttention().feature) == LinearAttention(
            position=softmax.model.attention.position
        )
        assert dataclasses.replace(run, model=softmax.model) == softmax


def test_from_scratch_each_takes_the_steps_of_the_tuning_or_all():
    names.check(RUN.RUNS)
    assert RUN.TUNING * 10 == RUN.STEPS
    steps = {arm: [run.steps for (each, _, _), run in RUN.CELLS.items() if each == arm] for arm in RUN.FEATURES}
    assert all(each == [100] * 3 + [1100] * 3 for each in steps.values())
    assert [run.steps for (arm, _, _), run in RUN.CELLS.items() if arm == RUN.SOFTMAX] == [1000] * 3
