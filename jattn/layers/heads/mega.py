"""Mega's gated attention: a moving average of the input makes queries, keys and gates; values come from the input.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, equations 6 to 15; the
released code (`moving_average_gated_attention.py`), which starts all kernels at noise of deviation 0.02.
Departs: one kernel for each of what the code makes by one fused product, so that a mesh may split those that are wide.
"""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers import through_heads
from jattn.layers.activations import ACTIVATIONS, Activation, check_activation
from jattn.layers.dropout import Kind, check_rate, drop
from jattn.layers.flow import Flow
from jattn.layers.heads import Heads
from jattn.layers.product import plus, product
from jattn.layers.recurring import recur
from jattn.layers.through_heads import Given
from jattn.mechanisms import Layout, Mechanism, Split, checks
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.part import Attended, Dims, Rng, part
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.rotary_bias import RotaryBias

DEVIATION = 0.02


class _Kept(NamedTuple):
    """What the way out of the head reads of the way in: the stream, the gates, and what attention's output joins."""

    stream: Float[Array, "*b t m"]
    update: Float[Array, "*b t m"]
    reset: Float[Array, "*b t e"]
    candidate: Float[Array, "*b t m"]


class _Held(NamedTuple):
    """What decoding carries beside keys and values: how many tokens there were, and what was heard of them."""

    length: Int[Array, ""]
    heard: Any


@part
class Mega(Heads):
    """One head, with queries and keys of `shared` features and values of `value`, None being twice the layer's width.

    y = update * (candidate - stream), which a block adds to its stream: with an update gate of 0 it stays as it is,
    with 1 it becomes the candidate. Outside of a block the stream is the layer's input.

    Without a `recurrence` the input itself takes the average's place. `dropout` acts on the average and on the
    candidate, `value_dropout` on the values, each iff a key is given, on entries or on whole channels of an example;
    that of weights is the attention's.
    """

    shared: int = 128
    value: int | None = None
    recurrence: Recurrence | None = Recurrence()
    activation: Activation = "silu"
    dropout: float = 0.0
    value_dropout: float = 0.0
    dropped: Literal["entries", "channels"] = "entries"

    AXES = {
        "value": ("width", "hidden"),
        "update_gate": ("width", None),
        "shared": ("width", None),
        "reset_gate": ("width", "hidden"),
        "candidate": ("width", None),
        "output": ("hidden", "width"),
    }

    def __post_init__(self):
        for name, size in (("shared", self.shared), ("value", self.value)):
            if size is not None and size < 1:
                raise ValueError(f"Mega.{name} must be at least 1 feature, got {size}; leave it out for the default.")
        if not isinstance(self.recurrence, Recurrence | None):
            raise TypeError(
                f"Mega.recurrence must be a Recurrence or None, got {type(self.recurrence).__name__}; build one."
            )
        check_activation(self.activation)
        if self.dropped not in get_args(Kind):
            raise ValueError(f"Mega.dropped must be {' or '.join(get_args(Kind))}, got {self.dropped!r}; use entries.")
        for name in ("dropout", "value_dropout"):
            check_rate("Mega", name, getattr(self, name))

    def dims(self, width: int, heads: int, depth: int | None) -> Dims:
        if heads != 1 or width < 1:
            raise ValueError(
                f"Mega has one head, and a width of at least 1, got {heads} heads of a layer of width {width}; use "
                f"--model.heads 1."
            )
        return Dims(1, 1, 1, self.shared, self.value or 2 * width, width, depth)

    def params(self, rng: Array, dims: Dims) -> dict:
        width = dims.need("model_width", self)
        made = {"value": dims.value_width, "update_gate": width, "shared": dims.key_width}
        made |= {"reset_gate": dims.value_width, "candidate": width}
        shapes = {name: (width, size) for name, size in made.items()}
        shapes |= {"output": (dims.value_width, width), "scale": (2, dims.key_width)}
        keys = jax.random.split(rng, len(shapes))
        drawn = {
            name: DEVIATION * jax.random.normal(key, shape)
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        biases = {f"{name}_bias": jnp.zeros(shapes[name][1]) for name in self.AXES}
        return drawn | biases | {"offset": jnp.zeros((2, dims.key_width))}

    def state(self, own: dict, dims: Dims, dtype: DTypeLike) -> _Held:
        heard = None if self.recurrence is None else self.recurrence.state(dims, dtype, own["recurrence"])
        return _Held(jnp.zeros((), jnp.int32), heard)

    def looks_ahead(self) -> str | None:
        both_ways = self.recurrence is not None and self.recurrence.backward is not None
        return "recurrence.backward none" if both_ways else None

    def split(self, own: dict, x: Float[Array, "*b t m"], flow: Flow) -> Split:
        if flow.memory is not None:
            raise ValueError(
                "Mega attends within one line of tokens, got a flow.memory; use other heads where a layer looks across."
            )
        act, held = ACTIVATIONS[self.activation], flow.state
        first = 0 if held is None else held.length
        heard, after = x, None
        if self.recurrence is not None:
            before = None if held is None else held.heard
            heard, after = recur(self.recurrence, own["recurrence"], x, flow, before)
            heard = drop(heard, self.dropout, flow.rng, "heard", first, self.dropped)
        value = drop(act(_affine(own, "value", x)), self.value_dropout, flow.rng, "value", first, self.dropped)
        shared = jax.nn.silu(_affine(own, "shared", heard))
        query, key = (
            plus(shared * jnp.broadcast_to(scale.astype(shared.dtype), shared.shape), offset)
            for scale, offset in zip(own["scale"], own["offset"], strict=True)
        )
        kept = _Kept(
            x if flow.stream is None else flow.stream,
            jax.nn.sigmoid(_affine(own, "update_gate", heard)),
            jax.nn.silu(_affine(own, "reset_gate", heard)),
            _affine(own, "candidate", heard),
        )
        query, key, value = (each[..., None, :] for each in (query, key, value))
        state = None if held is None else _Held(held.length + x.shape[-2], after)
        return Split(query, key, value, kept=kept, state=state)

    def merge(
        self, own: dict, out: Float[Array, "*b t 1 e"], split: Split, flow: Flow
    ) -> tuple[Float[Array, "*b t m"], dict[str, Float[Array, ""]]]:
        stream, update, reset, candidate = split.kept
        candidate = ACTIVATIONS[self.activation](candidate + _affine(own, "output", reset * out[..., 0, :]))
        first = 0 if flow.state is None else flow.state.length
        candidate = drop(candidate, self.dropout, flow.rng, "candidate", first, self.dropped)
        return update * (candidate - stream), {}


def mega_attention(
    x: Float[Array, "*b t m"],
    mega: Mega = Mega(),
    attention: Mechanism = Attention(RotaryBias(), Causal()),
    *,
    variables: Given,
    stream: Float[Array, "*b t m"] | None = None,
    layout: Layout | None = None,
    rng: Array | Rng | None = None,
    state: Any = None,
) -> Attended:
    """Mega's layer over any leading batch axes: `out` is the stream with what the update gate lets in, "*b t m".

    `variables` are those of `mega.init` and of `attention.init`, both for `mega.dims(m, 1, None)`. Without a `stream`,
    which is what a norm in front was given, that is `x`. `layout`, `rng`, statistics "*b t 1" and `state`, which
    `mega_state` starts, are as in `jattn.attend`. Raises ValueError for shapes that do not fit and for a state of
    other sizes.
    """
    x = jnp.asarray(x)
    flow = Flow(Layout() if layout is None else layout, rng=rng, state=state, stream=stream)
    dims = mega.dims(x.shape[-1], 1, None)
    checks.variables(mega, mega.own(variables[0]), dims)
    y, flow, record = through_heads.apply(mega, attention, variables, dims, x, flow)
    return Attended((x if stream is None else stream) + y, record.stats, flow.state)


def mega_state(
    mega: Mega,
    attention: Mechanism,
    variables: Given,
    width: int,
    length: int,
    batch: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
) -> Any:
    """What decoding by `mega_attention` carries before the first token, with room for `length` of them."""
    dims = dataclasses.replace(mega.dims(width, 1, None), length=length)
    return through_heads.start(mega, attention, variables, dims, batch, dtype)


def _affine(own: dict, name: str, x: Float[Array, "*b m"]) -> Float[Array, "*b f"]:
    return plus(product(x, own[name]), own[f"{name}_bias"])
