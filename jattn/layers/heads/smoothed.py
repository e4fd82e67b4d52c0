"""A recurrence over the layer's input in front of any heads, so that its effect can be told from that of gates.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 3.1 (a moving
average in front of attention).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.flow import Flow
from jattn.layers.heads import Heads
from jattn.layers.heads.grouped import Grouped
from jattn.layers.recurring import recur
from jattn.mechanisms import Split
from jattn.mechanisms.recurrence import Recurrence
from jattn.part import Dims, part


class _Held(NamedTuple):
    """What decoding carries of the recurrence, and what the inner heads carry."""

    heard: Any
    inner: Any


@part
class Smoothed(Heads):
    """`inner` heads of what the recurrence hears in place of the input, in self-attention."""

    inner: Heads = Grouped()
    recurrence: Recurrence = Recurrence()

    def axes(self) -> Mapping[str, Any]:
        return {"inner": self.inner.axes()}

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        return self.inner.dims(width, heads, depth)

    def state(self, own: dict, dims: Dims, dtype: DTypeLike) -> _Held:
        heard = self.recurrence.state(dims, dtype, own["recurrence"])
        return _Held(heard, self.inner.state(own["inner"], dims, dtype))

    def looks_ahead(self) -> str | None:
        if self.recurrence.backward is not None:
            return "recurrence.backward none"
        return (found := self.inner.looks_ahead()) and f"inner.{found}"

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        held = _Held(None, None) if flow.state is None else flow.state
        heard, after = recur(self.recurrence, own["recurrence"], x, flow, held.heard)
        split = self.inner.split(own["inner"], heard, flow._replace(state=held.inner))
        split = split._replace(heard=heard if split.heard is None else split.heard)
        return split if flow.state is None else split._replace(state=_Held(after, split.state))

    def merge(
        self, own: dict, out: Float[Array, "*b t h e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        state = None if flow.state is None else flow.state.inner
        return self.inner.merge(own["inner"], out, split, flow._replace(state=state))
