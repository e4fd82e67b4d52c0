"""The slot `normalizers`: logits to weights, element by element, given one statistic of the row."""

from typing import Literal

from jaxtyping import Array, Bool, Float

from jattn.part import Part, Tile


class Normalizer(Part):
    """Weights of a tile from its logits and the row statistic z; the engine finds z, statistics and gradients.

    `kind` says what z is. "exponential": |weights| = exp(level - z) and z = logsumexp(level) over seen keys.
    "free": there is none. "threshold": z is where the weights sum to 1; the engine finds it by Newton steps from
    `begin`, so weights must be convex and falling in z. `visible = True` on the class asks for `tile.visible`.
    """

    kind: Literal["exponential", "free", "threshold"]
    visible = False

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        """The weights, element by element; 0 with derivative 0 where not seen."""
        raise NotImplementedError

    def level(
        self, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
    ) -> Float[Array, "h t s"]:
        """Exponential only: the log of the unnormalized |weights|; -inf where not seen."""
        raise NotImplementedError

    def begin(self, own: dict, top: Float[Array, "h t"], tile: Tile) -> Float[Array, "h t"]:
        """Threshold only: a z at which the weights sum to 1 or more, from the row's largest logit."""
        raise NotImplementedError

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], Float[Array, "h e"] | None] | None:
        """Exponential only: the level and value of one more key of every row; a value of None is 0."""
        return None


def refuse_unshared(wrapper: str, inner: Normalizer) -> None:
    """Refuses what cannot be given one more key: rows without a mass to share, and a null slot that would be lost."""
    if inner.kind != "exponential":
        raise ValueError(
            f"{wrapper}.inner must be an exponential normalizer, got {type(inner).__name__} of kind {inner.kind!r}; "
            f"only exponential weights share their mass with one more key."
        )
    if type(inner).null is not Normalizer.null:
        raise ValueError(
            f"{wrapper}.inner must have no null slot of its own, got {type(inner).__name__}; a row has one, so choose "
            f"{wrapper} or {type(inner).__name__}."
        )
