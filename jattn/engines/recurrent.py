"""Diagonal recurrences over tokens: what a channel holds fades, turns and takes in, in four forms that give the same.

Source: Gu, Goel, Re, "Efficiently Modeling Long Sequences with Structured State Spaces", ICLR 2022, arXiv:2111.00396,
section 2.3 (single steps); Martin, Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", ICLR 2018,
arXiv:1709.04057 (a scan by an associative rule); `recurrent_steady` has the other two.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from jattn.engines import chunks, varying
from jattn.engines.recurrent_steady import chunked, convolved, parted, powers, turned
from jattn.numerics import wide
from jattn.parts.transitions import Diagonal, Transition

Form = Literal["convolution", "chunked", "associative", "sequential"]
FORMS = ("convolution", "chunked", "associative", "sequential")
# tokens whose states the backward pass finds again
STEPS = 128
# so many tokens, or fewer, are gone through one by one; in a batch two are already faster as a chunk
FEW = 1
# up to so many tokens a kernel that ends is fastest as a convolution
TRANSFORMED = 8192


def recur(
    transition: Transition,
    own: dict,
    x: Float[Array, "t c"],
    state: Inexact[Array, "c n"] | None = None,
    *,
    form: str | None = None,
    valid: Bool[Array, " t"] | None = None,
    segment: Int[Array, " t"] | None = None,
    taps: int | None = None,
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """What one example gives behind `state`, none for nothing, and the state after its last token.

    Tokens that are not valid count as 0: they put nothing in, while what is held goes on. The state is emptied where a
    segment begins; it belongs to the segment of the first token. With `taps` a row hears that many tokens, its own
    included, and the state goes on as if it heard all. Computed in at least float32, returned in the dtype of `x`;
    linear in memory, gradients too, but for the form "associative". Raises ValueError for a form that cannot serve the
    call, and for a state of other sizes.
    """
    kind = wide(x.dtype)
    fixed, shape, complex_ = _sizes(transition, own, x)
    taps = None if taps is None or taps >= len(x) else taps
    form = chosen(len(x), fixed and segment is None, taps) if form is None else form
    _check(form, transition, fixed, segment, taps)
    given = heard(x, valid)
    held_kind = jnp.promote_types(kind, jnp.complex64) if complex_ else kind
    if state is None:
        state = jnp.zeros(shape, held_kind)
    elif jnp.shape(state) != shape:
        raise ValueError(
            f"The state of {type(transition).__name__} is of {shape[0]} channels and {shape[1]} states, got the shape "
            f"{jnp.shape(state)}; begin with `start` of this transition."
        )
    elif jnp.iscomplexobj(state) != complex_:
        kinds = ("real", "complex") if complex_ else ("complex", "real")
        raise ValueError(
            f"The state of {type(transition).__name__} is of {kinds[1]} numbers, got {kinds[0]} ones; begin with "
            f"`start` of this transition."
        )
    state = varying.alike(state.astype(held_kind), (own, given, segment))
    if not len(x):
        return x, state
    fresh = None if segment is None else chunks.begins(segment, segment[0])
    if form == "associative":
        out, state = _at_once(_read(transition, own, given), given, state, fresh)
    elif form == "sequential" or not fixed or fresh is not None:
        inner = _one_by_one if form == "sequential" else _at_once
        out, state = _in_steps(transition, own, given, state, fresh, inner)
    else:
        made = _read(transition, own, given[:1])
        out, state = (convolved if form == "convolution" else chunked)(made, given, state, taps)
    return out.astype(x.dtype), state


def start(transition: Transition, own: dict, x: Float[Array, "t c"]) -> Inexact[Array, "c n"]:
    """The state before the first token; of `x` shape and dtype alone are read."""
    _, shape, complex_ = _sizes(transition, own, x)
    kind = wide(x.dtype)
    return jnp.zeros(shape, jnp.promote_types(kind, jnp.complex64) if complex_ else kind)


def left(
    transition: Transition,
    own: dict,
    x: Float[Array, "t c"],
    *,
    segment: Int[Array, " t"] | None = None,
) -> Inexact[Array, "c n"]:
    """The factor by which these tokens multiply what was held before them: 0 where a segment begins among them."""
    fixed, shape, complex_ = _sizes(transition, own, x)
    given = heard(x, None)
    if fixed:
        found = powers(_read(transition, own, given[:1]), jnp.full(1, len(x)))[:, 0]
    else:

        def product(made, x, factor, fresh):
            logs, phase = (
                None if leaf is None else len(x) / len(leaf) * leaf.sum(0) for leaf in (made.log_decay, made.phase)
            )
            return x, factor * turned(jnp.exp(logs), phase)

        kind = jnp.promote_types(given.dtype, jnp.complex64) if complex_ else given.dtype
        one = varying.alike(jnp.ones(shape, kind), (own, given))
        found = _in_steps(transition, own, given, one, None, product)[1]
    return found if segment is None else jnp.where((segment == segment[:1]).all(), found, 0)


def heard(x: Float[Array, "t c"], valid: Bool[Array, " t"] | None) -> Float[Array, "t c"]:
    """What is put in of some tokens, in at least float32: 0 where they are not valid."""
    given = x.astype(wide(x.dtype))
    # a weight of 0 times a padded NaN is NaN
    return given if valid is None else jnp.where(valid[:, None], given, 0)


def chosen(tokens: int, fixed: bool, taps: int | None) -> Form:
    """The form for so many tokens of a transition that is the same at all positions, without segments, or not so.

    The fastest by `jattn bench recurrence` on CPU; elsewhere, where no step is cheap, chunks in place of long loops.
    """
    if taps is not None:
        return "convolution" if tokens <= TRANSFORMED else "chunked"
    if tokens <= FEW or not fixed and jax.default_backend() == "cpu":
        return "sequential"
    return "chunked"


def _sizes(transition: Transition, own: dict, x: Array) -> tuple[bool, tuple[int, int], bool]:
    """Whether a transition is the same at all positions, its channels and states, and whether these are complex."""
    made = jax.eval_shape(lambda: transition.diagonal(own, jnp.zeros((2, x.shape[1]), x.dtype)))
    states = made.log_decay.shape[-1]
    for name, leaf in made._asdict().items():
        want = (x.shape[1],) if name == "skip" else (x.shape[1], states)
        if leaf is not None and leaf.shape[1:] != want:
            raise ValueError(
                f"{type(transition).__name__} has {leaf.shape[1]} channels in its {name}, got {x.shape[1]} channels; "
                f"make its arrays by init for the channels of this call."
            )
    fixed = all(leaf.shape[0] == 1 for leaf in jax.tree.leaves(made))
    return fixed, (x.shape[1], states), made.phase is not None


def _check(form: str, transition: Transition, fixed: bool, segment: Array | None, taps: int | None) -> None:
    if form not in FORMS:
        raise ValueError(f"A form of a recurrence is one of {', '.join(FORMS)}, got {form!r}; leave it out to choose.")
    if taps is not None and (form not in ("convolution", "chunked") or not fixed or segment is not None):
        line = "one line" if segment is None else "segments"
        raise ValueError(
            f"A kernel that ends is a convolution or chunks of one line, by transitions that are the same at all "
            f"positions, got {taps} taps, {type(transition).__name__}, {line} and form={form!r}; use no truncation."
        )
    if form == "convolution" and not fixed:
        raise ValueError(
            f"One convolution serves transitions that are the same at all positions, got {type(transition).__name__}; "
            f"use form='chunked', 'associative' or 'sequential'."
        )
    if form == "convolution" and segment is not None:
        raise ValueError(
            "One convolution has no place where a segment begins, got segments; use form='chunked', 'associative' or "
            "'sequential'."
        )


def _read(transition: Transition, own: dict, x: Float[Array, "t c"]) -> Diagonal:
    """The transition at some tokens, in the precision of theirs."""
    made = transition.diagonal(own, x)
    turned = jnp.promote_types(x.dtype, jnp.complex64)

    def cast(leaf):
        return None if leaf is None else leaf.astype(turned if jnp.iscomplexobj(leaf) else x.dtype)

    # once, and not for each power again
    return lax.optimization_barrier(Diagonal(*map(cast, made)))


def _in_steps(
    transition: Transition,
    own: dict,
    x: Float[Array, "t c"],
    state: Inexact[Array, "c n"],
    fresh: Bool[Array, " t"] | None,
    inner: Callable,
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """`inner` from some tokens to the next, of which the backward pass keeps the states in between alone."""

    @chunks.recomputed
    def step(state, given):
        some, fresh = given
        out, state = inner(_read(transition, own, some), some, state, fresh)
        return state, out

    size = min(STEPS, len(x))
    whole = len(x) // size * size
    first = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), (x, fresh))
    state, out = lax.scan(step, state, first)
    out = out.reshape(whole, x.shape[1])
    if whole < len(x):
        state, last = step(state, jax.tree.map(lambda leaf: leaf[whole:], (x, fresh)))
        out = jnp.concatenate([out, last])
    return out, state


def _at_once(
    made: Diagonal, x: Float[Array, "t c"], state: Inexact[Array, "c n"], fresh: Bool[Array, " t"] | None
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """All states by one scan whose rule is associative, in memory of tokens, channels and states."""
    factor = turned(jnp.exp(made.log_decay), made.phase)
    factor = jnp.broadcast_to(factor, (len(x), *factor.shape[1:]))
    if fresh is not None:
        factor = jnp.where(fresh[:, None, None], 0, factor)
    gained = jnp.broadcast_to(made.drive * x[..., None], factor.shape)
    gained = gained.at[0].add(factor[0] * state)

    def joined(earlier, later):
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    held = lax.associative_scan(joined, (factor, gained))[1]
    return _heard(made.read, held, made.skip, x), held[-1]


def _one_by_one(
    made: Diagonal, x: Float[Array, "t c"], state: Inexact[Array, "c n"], fresh: Bool[Array, " t"] | None
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """Token by token."""
    # a factor near 1 is rounded by as much at each token, all to one side; what it lacks to 1 is not
    whole, rest = parted(made.log_decay, made.phase)
    same = {"whole": whole, "rest": rest, "drive": made.drive, "read": made.read}
    same |= {} if made.skip is None else {"skip": made.skip}
    each = {name: leaf for name, leaf in same.items() if len(leaf) > 1}
    same = {name: leaf[0] for name, leaf in same.items() if name not in each}

    def token(held, given):
        x, fresh, now = given
        now = same | now
        held = held if fresh is None else jnp.where(fresh, 0, held)
        held = jnp.where(now["whole"], held, 0) + (now["rest"] * held + now["drive"] * x[:, None])
        return held, _heard(now["read"], held, now.get("skip"), x)

    state, out = lax.scan(token, state, (x, fresh, each))
    return out, state


def _heard(read: Array, held: Array, skip: Array | None, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
    out = (read * held).real.sum(-1)
    return out if skip is None else out + skip * x
