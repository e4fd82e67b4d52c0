"""The slot `features`: what queries and keys become so that their products are the weights of linear attention."""

from typing import Literal

from jaxtyping import Array, Float

from jattn.part import Part, Place, Side

Role = Literal["query", "key"]
Mapped = tuple[Float[Array, "c h f"], Float[Array, "c h"] | None]


class Feature(Part):
    """Maps each token by itself; an engine calls it chunk by chunk, so that no length has all features at once.

    `normalized = False` on the class says that rows are not divided by the sum of their weights. `floor` is what an
    engine adds to every feature of both sides once keys are scaled by the largest `log_scale` that a row has seen.
    Where `block` is a number, so many tokens make a block, counted from the first, and pairs of one block have the
    weights that `within` gives them.
    """

    normalized = True
    floor: float = 0.0
    block: int | None = None

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        """Features and the log of a factor on them, None where it is 1; `side.vector` is "c h d", in at least float32.

        The factor is what may be large: features themselves are of order 1, or exponentials of at most
        `jattn.numerics.RAISED`, whose rows keep the gradients of weights down to exp(-84).
        """
        raise NotImplementedError

    def within(self, own: dict, query: Side, key: Side, place: Place) -> Float[Array, "h c s"]:
        """The weights of all pairs of some queries and keys, where they are no products of features."""
        raise NotImplementedError

    def observe(self, own: dict, query: Side, key: Side, place: Place) -> dict:
        """What training notes of both sides whole, by name: sums over their tokens and heads, and counts of those.

        They are added up over a batch, and over the devices of a mesh; `refresh` of the next step reads the totals.
        """
        return {}
