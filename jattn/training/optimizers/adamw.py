"""Adam with decoupled weight decay.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019, arXiv:1711.05101, algorithm 2.
Departs: by default vectors, the embedding and the arrays of attention's parts are not decayed; the gradient is clipped
by its norm (Pascanu, Mikolov and Bengio, ICML 2013, arXiv:1211.5063, algorithm 1).
"""

from typing import Literal

import optax

from jattn.part import part
from jattn.training import checks
from jattn.training.optimizers import Optimizer
from jattn.training.optimizers.kinds import HEAD, MATRIX, REST, labels
from jattn.training.optimizers.schedule import FALLS, Fall, schedule


def adamw(
    rate: optax.Schedule, moments: tuple[float, float], epsilon: float, decay: float
) -> optax.GradientTransformation:
    """Adam's update and `decay * params`, both times the rate."""
    return optax.chain(
        optax.scale_by_adam(*moments, eps=epsilon),
        optax.add_decayed_weights(decay) if decay else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )


@part
class AdamW(Optimizer):
    """`warm_up` is a share of the steps, `final` of the rate, `decay` of the params per unit of rate.

    What decays are `matrices` of layers and of the head, or `all` that is learned. Behind its warm-up the rate falls
    along half a cosine or in a line.
    """

    rate: float = 3e-3
    first_moment: float = 0.9
    second_moment: float = 0.99
    epsilon: float = 1e-8
    decay: float = 0.1
    warm_up: float = 0.03
    final: float = 0.02
    clip: float = 1.0
    fall: Fall = "cosine"
    decayed: Literal["matrices", "all"] = "matrices"

    def __post_init__(self):
        check(self, "rate", "epsilon", "clip")
        check_decay(self)
        check_moments(self, "first_moment", "second_moment")
        checks.one_of("AdamW", "decayed", self.decayed, ("matrices", "all"), "the default is 'matrices'")

    def learning_rate(self, steps: int) -> optax.Schedule:
        return schedule(self.rate, steps, self.warm_up, self.final, self.fall)

    def transformation(self, steps: int) -> optax.GradientTransformation:
        rate = self.learning_rate(steps)
        moments = (self.first_moment, self.second_moment)
        decayed = adamw(rate, moments, self.epsilon, self.decay)
        rest = adamw(rate, moments, self.epsilon, self.decay if self.decayed == "all" else 0.0)
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.partition({MATRIX: decayed, HEAD: decayed, REST: rest}, labels),
        )


def check(optimizer: Optimizer, *positive: str) -> None:
    """Refuses rates that are not above 0, shares outside [0, 1], and an unknown fall."""
    owner = type(optimizer).__name__
    for name in positive:
        checks.positive(owner, name, getattr(optimizer, name), "leave it at its default")
    for name in ("warm_up", "final"):
        checks.between(owner, name, getattr(optimizer, name), 0, 1, "it is a share; leave it at its default")
    checks.one_of(owner, "fall", optimizer.fall, tuple(FALLS), "the default is 'cosine'")


def check_decay(optimizer: Optimizer) -> None:
    """Refuses a decay that would make params grow."""
    checks.between(type(optimizer).__name__, "decay", optimizer.decay, 0, 1e3, "0 decays nothing")


def check_moments(optimizer: Optimizer, *moments: str) -> None:
    """Refuses what is no factor of a running mean: 1 would never move."""
    for name in moments:
        checks.between(type(optimizer).__name__, name, getattr(optimizer, name), 0, 0.999999, "use one below 1, as 0.9")
