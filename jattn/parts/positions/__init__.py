"""The slot `positions`: turns queries and keys by where they stand, before they meet."""

from jaxtyping import Array, Float

from jattn.part import Part, Place, Side, part


class Position(Part):
    """Turns the vectors of one side; shape and dtype stay. Keys are cached turned.

    `positional = False` on the class says that no position is read.
    """

    positional = True

    def turn(self, own: dict, vector: Float[Array, "n h d"], side: Side, place: Place) -> Float[Array, "n h d"]:
        """The vectors as they meet the other side."""
        return vector


@part
class Unturned(Position):
    """Leaves vectors as they are; order is then known only to the mask.

    Source: Haviv et al., "Transformer Language Models without Positional Encodings Still Learn Positional
    Information", EMNLP Findings 2022, arXiv:2203.16634.
    """

    positional = False
