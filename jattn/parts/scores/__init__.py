"""The slot `scores`: what happens to the logits of a pair before they become weights."""

from jaxtyping import Array, Float

from jattn.part import Dims, Part, Place, Rng, Side, Tile


class Score(Part):
    """Changes logits pair by pair, looking at the tile alone; gradients flow to `own`, queries, keys and `extra`.

    `visible = True` on the class asks for `tile.visible`. `mixes = True` says that `tokens` sums over positions,
    `positional = False` that no position is read. `near` says that it has numbers for positions fewer tokens apart than
    that alone, so that a mechanism refuses a call whose mask lets rows see farther; None is for any.
    """

    visible = False
    positional = True
    mixes = False
    near: int | None = None

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        """Per-token arrays "n #heads ..." from the layer's input, new tokens only; cached beside keys and values."""
        return {}

    def tokens(self, own: dict, query: Side, key: Side, place: Place, rng: Rng | None) -> tuple[Side, Side]:
        """Plain JAX on the whole sides: vectors, norms, scales, `extra`. Running sums over positions belong here."""
        return query, key

    def pairs(self, own: dict, logits: Float[Array, "h t s"], tile: Tile) -> Float[Array, "h t s"]:
        """The new logits of a tile, in at least float32."""
        return logits

    def width(self, dims: Dims) -> int:
        """How many values a pair holds at once, so that an engine may shrink its tiles."""
        return 1
