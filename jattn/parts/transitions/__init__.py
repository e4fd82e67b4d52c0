"""The slot `transitions`: what each channel of a recurrence holds, how it fades, takes in what comes, and is read."""

from typing import NamedTuple

from jaxtyping import Array, Float, Inexact

from jattn.part import Part


class Diagonal(NamedTuple):
    """h_t = exp(log_decay + i phase) h_(t-1) + drive x_t and y_t = Re sum_n read h_t + skip x_t, channel by channel.

    A leading axis of 1 is the same at all positions. `log_decay` is at most 0, in nats; without a `phase`, in radians,
    all is real, with one `drive` and `read` are complex.
    """

    log_decay: Float[Array, "#t c n"]
    phase: Float[Array, "#t c n"] | None
    drive: Inexact[Array, "#t c n"]
    read: Inexact[Array, "#t c n"]
    skip: Float[Array, "#t c"] | None = None


class Transition(Part):
    """Says of some tokens, each by itself, how `dims.model_width` channels of n states go on; called a chunk at a time.

    What leads with 1 is read from any tokens.
    """

    def diagonal(self, own: dict, x: Float[Array, "t c"]) -> Diagonal:
        """What happens at these tokens, in at least float32."""
        raise NotImplementedError
