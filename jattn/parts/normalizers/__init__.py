"""The slot `normalizers`: logits to weights, element by element, given one statistic of the row."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Array, Bool, Float

from jattn.part import Attended, Part, Tile, part, scope

# `run(normalizer, own={}, extra={})`: the engine over the same queries and keys with another normalizer and values of
# width 0, differentiable; `extra` is what that one's tiles show of their rows
Run = Callable[..., Attended]


class Normalizer(Part):
    """Weights of a tile from its logits and the row statistic z; the engine finds z, statistics and gradients.

    `kind` says what z is. "exponential": |weights| = exp(level - z) and z = logsumexp(level) over seen keys.
    "free": there is none. "threshold": z is where the weights sum to 1; the engine finds it by Newton steps from
    `begin`, so weights must be convex and falling in z. `visible = True` on the class asks for `tile.visible`.
    `loops = True` says that `prepare` runs the engine as often as the rows' own numbers say.
    """

    kind: Literal["exponential", "free", "threshold"]
    visible = False
    loops = False

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

    def degree(self, own: dict, tile: Tile) -> float | Float[Array, "h 1"]:
        """Threshold only: a p of at least 1 for which the sum of weights to the power 1 / p is convex in z as well; the
        nearer to a line it is, the fewer passes find z."""
        return 1

    def null(self, own: dict, tile: Tile) -> tuple[Float[Array, "h t"], Float[Array, "h e"] | None] | None:
        """Exponential only: the level and value of one more key of every row; a value of None is 0."""
        return None

    def prepare(self, own: dict, run: Run) -> dict:
        """Arrays of whole rows "t #h" that earlier passes give; they arrive as `tile.query.extra`."""
        return {}


def of_inner(tile: Tile) -> Tile:
    """The tile as the normalizer in the field `inner` of a wrapper may see it."""
    return tile._replace(query=tile.query._replace(extra=scope(tile.query.extra, "inner")))


def prepared_inner(inner: Normalizer, own: dict, run: Run) -> dict:
    """What a wrapper's `prepare` passes on of its field `inner`."""
    found = inner.prepare(own["inner"], run)
    return {"inner": found} if found else {}


@part
class _OneMore(Normalizer):
    """Any exponential normalizer with one more key of every row, which the final class gives by `null`."""

    inner: Normalizer
    kind = "exponential"

    def __post_init__(self):
        name, inner = type(self).__name__, type(self.inner).__name__
        if self.inner.kind != "exponential":
            raise ValueError(
                f"{name}.inner must be an exponential normalizer, got {inner} of kind {self.inner.kind!r}; only "
                f"exponential weights share their mass with one more key."
            )
        if type(self.inner).null is not Normalizer.null:
            raise ValueError(
                f"{name}.inner must have no null slot of its own, got {inner}; a row has one, so choose one of the two."
            )

    @property
    def visible(self) -> bool:
        """Asks for what the inner one asks for."""
        return self.inner.visible

    @property
    def loops(self) -> bool:
        """Loops where the inner one does."""
        return self.inner.loops

    def prepare(self, own: dict, run: Run) -> dict:
        return prepared_inner(self.inner, own, run)

    def weights(
        self,
        own: dict,
        logits: Float[Array, "h t s"],
        z: Float[Array, "h t 1"],
        seen: Bool[Array, "#h t s"],
        tile: Tile,
    ) -> Float[Array, "h t s"]:
        return self.inner.weights(own["inner"], logits, z, seen, of_inner(tile))

    def level(
        self, own: dict, logits: Float[Array, "h t s"], seen: Bool[Array, "#h t s"], tile: Tile
    ) -> Float[Array, "h t s"]:
        return self.inner.level(own["inner"], logits, seen, of_inner(tile))
