"""Softmax decoders to be converted, and the same linear ones from scratch, for as long as tuning takes or for all."""

import dataclasses

from jattn.models.decoder import DecoderConfig
from jattn.parts.features.favor import Favor
from jattn.parts.features.hedgehog import Hedgehog
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.features.projections import Projection
from jattn.training import convert
from jattn.training.optimizers.muon import Muon
from jattn.training.run import Run

# the default decoder at half its width and depth, and 1000 of its 4300 steps
STEPS, TUNING = 1000, 100
# seed 0 was the pilot's
SEEDS = (1, 2, 3)
# of the default rates; at these themselves tuning costs softmax what it had learned
RATE = 0.3
SOFTMAX = "softmax"
# a power of two near d log d = 111 for heads of width 32; a new draw would come 100 steps before the end, or not at all
FEATURES = {
    "FAVOR+": Favor(Projection(128, redraw=0)),
    "Hedgehog": Hedgehog(),
    # deviations as measured under softmax, then frozen
    "LLN": LogNormal(momentum=1.0),
}
# steps that train features alone before the tuning
DISTILL = {"FAVOR+": 0, "Hedgehog": 300, "LLN": 0}


def trained(seed: int) -> Run:
    """A softmax decoder's run."""
    return Run(
        model=DecoderConfig(width=64, depth=2), steps=STEPS, seed=seed, evaluate_every=STEPS, checkpoint_every=STEPS
    )


def tuned(seed: int, arm: str) -> Run:
    """The steps that follow a softmax decoder's, by the arm's attention."""
    run, usual = trained(seed) if arm == SOFTMAX else convert.linear(trained(seed), FEATURES[arm]), Muon()
    lower = Muon(rate=RATE * usual.rate, other_rate=RATE * usual.other_rate)
    return dataclasses.replace(run, optimizer=lower, steps=TUNING, evaluate_every=TUNING // 5)


def scratch(seed: int, arm: str, steps: int) -> Run:
    """The arm's model trained from its first step."""
    return dataclasses.replace(
        tuned(seed, arm), optimizer=Muon(), steps=steps, evaluate_every=steps, checkpoint_every=steps
    )


CELLS = (
    {(SOFTMAX, STEPS, seed): trained(seed) for seed in SEEDS}
    | {(arm, TUNING, seed): scratch(seed, arm, TUNING) for seed in SEEDS for arm in FEATURES}
    | {(arm, STEPS + TUNING, seed): scratch(seed, arm, STEPS + TUNING) for seed in SEEDS for arm in FEATURES}
)
RUNS = list(CELLS.values())
