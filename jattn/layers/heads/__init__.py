"""The slot `heads`: how a layer's input becomes heads, and heads its output."""

from typing import ClassVar

from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.mechanisms import Split
from jattn.part import Dims, Part


class Heads(Part):
    """Projects in and out, whatever the leading axes: a weight's product with a batch is one large product.

    `flow.layout.head` is always filled: the numbers of this call's heads, and how many heads and key heads there are.
    A subclass names in `AXES` the axes of its params: "width" that of the layer's features, "heads" and "key_heads"
    those that lie head beside head.
    """

    AXES: ClassVar[dict[str, tuple[str | None, ...]]] = {}

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        """The sizes of a layer of `width` features; refuses a width or a number of heads that does not divide."""
        raise NotImplementedError

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        """Queries from `x`; keys and values from `flow.memory` where there is one, else from `x` too."""
        raise NotImplementedError

    def merge(
        self, own: dict, out: Float[Array, "*b t h e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        """The layer's output, and its terms of the loss, weighted and averaged over the batch."""
        raise NotImplementedError
