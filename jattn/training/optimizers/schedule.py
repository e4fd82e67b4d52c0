"""Warm-up and fall: the rate climbs in a line, then falls, along half a cosine or in a line, to a rest of itself.

Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, arXiv:1608.03983,
section 3, without restarts; Devlin et al., "BERT", NAACL 2019, arXiv:1810.04805, appendix A.2 (the line).
"""

from collections.abc import Callable
from typing import Literal

import optax

Fall = Literal["cosine", "linear"]
# down from a rate, in so many steps, to a share of it
FALLS: dict[str, Callable[[float, int, float], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda rate, steps, final: optax.linear_schedule(rate, final * rate, steps),
}


def schedule(rate: float, steps: int, warm_up: float, final: float, fall: Fall = "cosine") -> optax.Schedule:
    """The rate at each step: up over the share `warm_up` of the steps, then down to `final * rate` at the last one."""
    climb = min(max(1, round(warm_up * steps)), steps)
    # step 0 must move too, and the last step is steps - 1
    return optax.join_schedules(
        [
            optax.linear_schedule(rate / climb, rate, max(1, climb - 1)),
            FALLS[fall](rate, max(1, steps - climb), final),
        ],
        [climb - 1],
    )
