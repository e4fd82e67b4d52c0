"""The arms of `run.py`: what they change, and that all are tuned alike."""

import dataclasses
from pathlib import Path

from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.length_scale import LengthScale
from jattn.training.sweeps import listed

RUN = listed.executed(Path(__file__).parents[3] / "experiments" / "entropy_abf" / "run.py")


def test_arms_differ_in_base_and_scale_alone():
    held = [(arm.position, arm.score) for arm in RUN.ARMS.values()]
    scales = [(), (), (LengthScale(128, 2),), (LengthScale(128),)]
    assert held == list(zip([Rotary(), *[Rotary(5e5)] * 3], scales, strict=True))


def test_each_arm_is_tuned_alike():
    run = RUN.RUNS[0]
    tuned = [[RUN.tuned(run, arm, rate) for rate in RUN.RATES] for arm in RUN.ARMS]
    assert all(each.context == RUN.TARGET and each.steps == RUN.TUNING_STEPS for some in tuned for each in some)
    alike = [tuple(dataclasses.replace(each, model=run.model) for each in some) for some in tuned]
    assert len(set(alike)) == 1 and len({each.model for some in tuned for each in some}) == len(RUN.ARMS)
