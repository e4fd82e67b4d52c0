"""The slot `heads`: how a layer's input becomes heads, and heads its output."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.mechanisms import Split
from jattn.part import Dims, Part


class Heads(Part):
    """Projects in and out, whatever the leading axes: a weight's product with a batch is one large product.

    `flow.layout.head` is always filled: the numbers of this call's heads, and how many heads and key heads there are.
    A subclass names in `AXES` the axes of its params: "width" that of the layer's features, "heads" and "key_heads"
    those that lie head beside head, "hidden" others that a mesh may split.
    """

    AXES: ClassVar[dict[str, tuple[str | None, ...]]] = {}

    def axes(self) -> Mapping[str, Any]:
        """The names of the axes of all params, nested as these are."""
        return self.AXES

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        """The sizes of a layer of `width` features; refuses a width or a number of heads that does not divide."""
        raise NotImplementedError

    def state(self, own: dict, dims: Dims, dtype: DTypeLike) -> Any:
        """What decoding carries for one example beside the attention's state, empty; None where that is nothing."""
        return None

    def looks_ahead(self) -> str | None:
        """Of heads whose tokens hear others behind their own the option, and its value, that keeps them from it."""
        return None

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        """Queries from `x`; keys and values from `flow.memory` where there is one, else from `x` too.

        `flow.state` is what `state` made, the tokens being new ones behind those it has heard, and the split's `state`
        is then what it is after them. `merge` finds in the split's `kept` what was put there.
        """
        raise NotImplementedError

    def merge(
        self, own: dict, out: Float[Array, "*b t h e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        """The layer's output, and its terms of the loss, weighted and averaged over the batch."""
        raise NotImplementedError
