"""The slot `reparametrizations`: how the kernel of a linear map is made from the array that is learned in its place."""

from typing import Literal

from jaxtyping import Array, Float

from jattn.part import Part, Variables


class Reparametrization(Part):
    """Pure functions of one kernel, its inputs on the first axis and its outputs on the last, in float32.

    `joint` says which of the projections to queries, keys and values count as one kernel, side by side; `where`,
    whether all kernels are made so or those of feed-forward layers alone.
    """

    joint: Literal["none", "qk", "qkv"] = "none"
    where: Literal["all", "feedforward"] = "all"

    def start(self, kernel: Float[Array, "n f"]) -> Variables:
        """The arrays beside a fresh kernel: learned ones, and kept ones."""
        raise NotImplementedError

    def kernel(self, own: dict, kernel: Float[Array, "n f"]) -> Float[Array, "n f"]:
        """The kernel that the layer computes with."""
        raise NotImplementedError

    def renewed(self, own: dict, kernel: Float[Array, "n f"]) -> dict:
        """What is kept after one more training step, by name."""
        return {}
