"""A recurrence over all tokens as a layer: every channel by itself, along one direction or both, then an activation.

Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023, arXiv:2209.10655, section 3.1 and
equations 23 to 25; the released code (`exponential_moving_average.py`).
Departs: as the code does, a learned multiple of the input and a SiLU are part of it, of which the paper has neither,
and both can be left out.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Inexact, Int

from jattn.engines import recurrent, recurrent_shards
from jattn.engines.recurrent import Form
from jattn.mechanisms import checks, mesh
from jattn.numerics import wide
from jattn.part import Dims, Part, Variables, part
from jattn.parts.transitions import Diagonal, Transition
from jattn.parts.transitions.damped_ema import DampedEma


class Held(NamedTuple):
    """What decoding carries, of one size for any length: the states of each channel, and the last token's segment."""

    states: Inexact[Array, "c n"]
    segment: Int[Array, ""]


class Recurred(NamedTuple):
    """The rows of a recurrence, and where a state was given that after the last token."""

    out: Float[Array, "*b t c"]
    state: Held | None


@part
class _Beyond(Transition):
    """Another transition of which a token's own row hears nothing of it."""

    inner: Transition

    def diagonal(self, own: dict, x: Float[Array, "t c"]) -> Diagonal:
        made = self.inner.diagonal(own["inner"], x)
        return made._replace(skip=-(made.read * made.drive).real.sum(-1))


@part
class Recurrence(Part):
    """Each channel through a `transition`, and through a `backward` one from the end where there is one.

    Both directions hear a token in its own row, "twice" as published, or "once", by the forward one alone. `residual`
    is a learned multiple of the input, channel by channel. `truncation` is how many tokens a row hears, its own
    included; behind a decoding state nothing is cut off, as in the reference. `context_axis` names the axis of a mesh
    over which tokens are split; states cross from device to device, and where the kernel ends the tokens in its reach.
    """

    transition: Transition = DampedEma()
    backward: Transition | None = None
    center: Literal["twice", "once"] = "twice"
    residual: Literal["learned", "none"] = "learned"
    activation: Literal["silu", "identity"] = "silu"
    truncation: int | None = None
    form: Form | None = None
    context_axis: str | None = None

    def __post_init__(self):
        checks.axis(self)
        allowed = {
            "center": ("twice", "once"),
            "residual": ("learned", "none"),
            "activation": ("silu", "identity"),
            "form": (None, *recurrent.FORMS),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                listed = " or ".join(repr(value) for value in values if value is not None)
                raise ValueError(
                    f"Recurrence.{name} must be {listed}, got {getattr(self, name)!r}; leave it out for {values[0]!r}."
                )
        if self.truncation is not None and self.truncation < 1:
            raise ValueError(
                f"Recurrence.truncation must be at least 1 token, got {self.truncation}; leave it out to hear all."
            )
        if self.truncation is not None and self.form not in (None, "convolution", "chunked"):
            raise ValueError(
                f"A truncated recurrence is a convolution or chunks, got form={self.form!r}; leave the form out, or "
                f"the truncation."
            )
        if self.backward is not None and not isinstance(self.backward, Transition):
            raise TypeError(
                f"Recurrence.backward must be a Transition or None, got {type(self.backward).__name__}; build one."
            )

    def params(self, rng: Array, dims: Dims) -> dict:
        if self.residual == "none":
            return {}
        return {"omega": jax.random.normal(rng, (dims.need("model_width", self),))}

    def looks_ahead(self, dims: Dims) -> str | None:
        """Where rows hear tokens behind their own the option, and its value, that keeps them from it."""
        return None if self.backward is None else "backward none"

    def state(self, dims: Dims, dtype: DTypeLike, own: dict) -> Held:
        """What decoding carries for one example before its first token."""
        self._check_state()
        token = jnp.zeros((1, dims.need("model_width", self)), dtype)
        return Held(recurrent.start(self.transition, own["transition"], token), jnp.full((), -1, jnp.int32))

    def apply(
        self,
        own: dict,
        x: Float[Array, "t c"],
        valid: Bool[Array, " t"] | None = None,
        segment: Int[Array, " t"] | None = None,
        state: Held | None = None,
    ) -> tuple[Float[Array, "t c"], Held | None]:
        """The rows of one example, in its dtype, and where a state was given that after its last token.

        Tokens that are not valid put nothing in; their own rows are computed as any other. A segment ends where the
        next begins, and one that comes back begins anew.
        """
        given = x.astype(wide(x.dtype))
        if valid is not None:
            # a gradient of 0 times a padded NaN is NaN
            given = jnp.where(valid[:, None] | jnp.isfinite(given), given, 0)
        if state is None:
            out, after = self._heard(own, given, valid, segment), None
        else:
            self._check_state()
            out, after = self._goes_on(own, given, valid, segment, state)
        if self.residual == "learned":
            out = out + own["omega"].astype(out.dtype)[None] * given
        return (jax.nn.silu(out) if self.activation == "silu" else out).astype(x.dtype), after

    def _heard(self, own: dict, x: Array, valid: Array | None, segment: Array | None) -> Float[Array, "t c"]:
        out = self._along(self.transition, own["transition"], x, valid, segment, "forward")
        if self.backward is None:
            return out
        transition, theirs = self.backward, own["backward"]
        if self.center == "once":
            transition, theirs = _Beyond(transition), {"inner": theirs}
        x, valid, segment = (None if each is None else each[::-1] for each in (x, valid, segment))
        return out + self._along(transition, theirs, x, valid, segment, "backward")[::-1]

    def _along(
        self, transition: Transition, own: dict, x: Array, valid: Array | None, segment: Array | None, order: str
    ) -> Float[Array, "t c"]:
        options = {"form": self.form, "segment": segment, "taps": self.truncation}
        if self.context_axis is None:
            return recurrent.recur(transition, own, x, valid=valid, **options)[0]
        return recurrent_shards.recur(
            transition, own, recurrent.heard(x, valid), self.context_axis, order=order, **options
        )

    def _goes_on(
        self, own: dict, x: Array, valid: Array | None, segment: Array | None, state: Held
    ) -> tuple[Float[Array, "t c"], Held]:
        states, last = state
        if segment is not None and len(x):
            states = jnp.where(segment[0] == last, states, 0)
            last = segment[-1].astype(last.dtype)
        out, states = recurrent.recur(
            self.transition, own["transition"], x, states, form=self.form, valid=valid, segment=segment
        )
        return out, Held(states, last)

    def _check_state(self) -> None:
        if self.backward is not None:
            raise ValueError(
                "A decoding state serves rows that hear the tokens up to their own, got a backward transition; decode "
                "with backward=None."
            )
        if self.context_axis is not None:
            raise ValueError(
                f"A recurrence over the axis {self.context_axis!r} keeps no decoding state, got one; decode with "
                f"context_axis=None."
            )


def recur(
    x: Float[Array, "*b t c"],
    recurrence: Recurrence = Recurrence(),
    *,
    variables: Variables,
    valid: Array | None = None,
    segments: Int[Array, "*b t"] | None = None,
    state: Held | None = None,
) -> Recurred:
    """A recurrence over any leading batch axes, in time and memory that grow with the length.

    `variables` are those of `recurrence.init`. `valid` is a length or a boolean row; it and `segments` are shared by
    the batch, or carry its axes. With `state`, that of `recurrence.state` with the axes of the batch in front, tokens
    are new ones behind those it holds. On a mesh each device has its examples and, over `context_axis`, its tokens.
    Raises ValueError for shapes that do not fit, TypeError for a wrong kind.
    """
    _check_tokens(x, valid, segments)
    if not isinstance(recurrence, Recurrence):
        raise TypeError(f"The argument recurrence must be a Recurrence, got {checks.kind(recurrence)}; build one.")
    own, batch, tokens = recurrence.own(variables), x.shape[:-2], x.shape[-2]
    checks.variables(recurrence, own, Dims(1, 1, 1, *x.shape[-1:] * 3))
    if state is not None and jnp.shape(state.states)[:-2] != batch:
        raise ValueError(
            f"The state of a batch {batch} has its axes in front, got states {jnp.shape(state.states)}; broadcast each "
            f"array of Recurrence.state over the batch."
        )
    if valid is not None and jnp.asarray(valid).dtype != bool:
        # a number counts the tokens of all devices
        inside = recurrence.context_axis in jax.sharding.get_abstract_mesh().manual_axes
        first = lax.axis_index(recurrence.context_axis) * tokens if inside else 0
        valid = first + jnp.arange(tokens) < jnp.asarray(valid)[..., None]
    valid, segments = (None if each is None else _spread(each, batch) for each in (valid, segments))
    if state is None and (cut := mesh.cut_of(x[..., None, :], recurrence.context_axis)):
        return Recurred(_over_mesh(recurrence, cut, own, x, valid, segments), None)
    return Recurred(*_over_batch(recurrence, own, x, valid, segments, state))


def _over_batch(recurrence: Recurrence, own: dict, x: Array, *data: Any) -> tuple[Array, Held | None]:
    call = functools.partial(recurrence.apply, own)
    for _ in x.shape[:-2]:
        call = jax.vmap(call)
    return call(x, *data)


def _over_mesh(
    recurrence: Recurrence, cut: mesh.Cut, own: dict, x: Array, valid: Array | None, segments: Array | None
) -> Float[Array, "*b t c"]:
    """The same on each device for its examples and tokens."""
    for size, over in zip(x.shape[:-1], (*cut.batch, cut.time), strict=True):
        mesh.check_divides("tokens" if over == cut.time else "examples", size, over, cut.mesh)
    tokens = PartitionSpec(*(over or None for over in (*cut.batch, cut.time)))
    given, specs = (own, x, valid, segments), (PartitionSpec(), tokens, tokens, tokens)
    if explicit := mesh.of_type(cut.mesh, AxisType.Explicit):
        given = tuple(
            jax.tree.map(lambda leaf, spec=mesh.kept(spec, explicit): jax.sharding.reshard(leaf, spec), each)
            for each, spec in zip(given, specs, strict=True)
        )
    mesh.check_outside(given)
    return _split(recurrence, cut, specs, *given)


# compiled, since outside of jit a shard_map leaves no axis to the compiler
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _split(recurrence: Recurrence, cut: mesh.Cut, specs: tuple, *given: Any) -> Float[Array, "*b t c"]:
    names = {name for over in (*cut.batch, cut.time) for name in over}
    return jax.shard_map(
        lambda *here: _over_batch(recurrence, *here)[0],
        mesh=cut.mesh,
        in_specs=specs,
        out_specs=specs[1],
        axis_names=names,
        # loops begin with what no type says to be split
        check_vma=False,
    )(*given)


def damped_ema(
    x: Float[Array, "*b t c"],
    params: dict,
    *,
    center: Literal["twice", "once"] = "twice",
    activation: Literal["silu", "identity"] = "silu",
    truncation: int | None = None,
    valid: Array | None = None,
    segments: Int[Array, "*b t"] | None = None,
    state: Held | None = None,
) -> Recurred:
    """Mega's moving average of each channel over any leading batch axes; options are those of `Recurrence`.

    `params` holds "transition", the arrays delta, alpha, beta, gamma "c n" of `DampedEma`; the same under "backward"
    where rows hear later tokens too, and "omega" "c" where a multiple of the input is added, as `Recurrence().init`
    makes them. Data as in `jattn.recur`. Raises KeyError for arrays that are absent and ValueError for arrays of other
    sizes.
    """
    sides = {name: DampedEma(_expansion(params, name)) for name in ("transition", "backward") if name in params}
    residual = "learned" if "omega" in params else "none"
    recurrence = Recurrence(**sides, center=center, residual=residual, activation=activation, truncation=truncation)
    return _served(x, recurrence, params, valid, segments, state)


# as a whole: operation by operation, a call at a new shape would compile dozens of small programs
@functools.partial(jax.jit, static_argnums=1)
def _served(
    x: Array, recurrence: Recurrence, params: dict, valid: Any, segments: Array | None, state: Held | None
) -> Recurred:
    return recur(x, recurrence, variables=Variables(params, {}), valid=valid, segments=segments, state=state)


def _expansion(params: dict, name: str) -> int:
    return jnp.shape(params[name]["delta"])[-1]


def _spread(array: Array, batch: tuple[int, ...]) -> Array:
    array = jnp.asarray(array)
    return jnp.broadcast_to(array, (*batch, *array.shape[-1:]))


def _check_tokens(x: Array, valid: Array | None, segments: Array | None) -> None:
    dtype, shape = getattr(x, "dtype", None), jnp.shape(x)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"A recurrence goes over a floating array, got {checks.kind(x) if dtype is None else dtype}; cast it, as "
            f"in jnp.asarray(x, jnp.float32)."
        )
    if len(shape) < 2:
        raise ValueError(f"A recurrence goes over [..., time, channels], got the shape {shape}; give x both axes.")
    checks.whole("Segments", segments)
    *batch, tokens, _ = shape
    for name, array in (("Segments", segments), ("What is valid", valid)):
        if array is None:
            continue
        array = jnp.asarray(array)
        fits = [(), tuple(batch)] if name != "Segments" and array.dtype != bool else [(tokens,), (*batch, tokens)]
        if array.shape not in fits:
            raise ValueError(
                f"{name} of x {shape} has the shape {' or '.join(map(str, dict.fromkeys(fits)))}, got {array.shape}; "
                f"reshape or broadcast it."
            )
