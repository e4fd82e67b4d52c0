"""Warm-up and cosine: the rate climbs in a line, then falls along half a cosine to a small rest of itself.

Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, arXiv:1608.03983,
section 3, without restarts.
"""

import optax


def cosine(rate: float, steps: int, warm_up: float, final: float) -> optax.Schedule:
    """The rate at each step: up over the share `warm_up` of the steps, then down to `final * rate` at the last one."""
    climb = min(max(1, round(warm_up * steps)), steps)
    # step 0 must move too, and the last step is steps - 1
    return optax.join_schedules(
        [
            optax.linear_schedule(rate / climb, rate, max(1, climb - 1)),
            optax.cosine_decay_schedule(rate, max(1, steps - climb), final),
        ],
        [climb - 1],
    )
