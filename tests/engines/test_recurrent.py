"""The engine of diagonal recurrences: each form, and any split of the tokens, gives what all pairs, written out, do."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks.turns import temporary_bytes
from jattn.engines import recurrent, recurrent_steady
from jattn.engines.recurrent import FORMS
from jattn.part import Dims, part
from jattn.parts.transitions import Diagonal, Transition
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.parts.transitions.linear_recurrent_unit import LinearRecurrentUnit
from jattn.parts.transitions.s4d import S4D
from tests.support import assert_close, cast, float64, largest_intermediate  # noqa: F401

TOKENS, CHANNELS = 37, 3
DIMS = Dims(1, 1, 1, CHANNELS, CHANNELS, model_width=CHANNELS)


@part
class Moving(Transition):
    """Factors, and what is put in, by token; what is read the same at all."""

    def params(self, rng, dims):
        keys = jax.random.split(rng, 3)
        return {name: jax.random.normal(key, (CHANNELS, 2)) for name, key in zip("abc", keys, strict=True)}

    def diagonal(self, own, x):
        step = jax.nn.softplus(x + 0.3)[..., None]
        decay = -step * jnp.exp(own["a"])[None]
        return Diagonal(decay, None, step * own["b"][None], own["c"][None], x**2)


@part
class Turning(Moving):
    """The same and complex."""

    def diagonal(self, own, x):
        made = super().diagonal(own, x)
        drive, read = (jax.lax.complex(leaf, 0.5 * leaf) for leaf in (made.drive, made.read))
        return Diagonal(made.log_decay, 3 * jnp.sin(made.log_decay), drive, read)


class Case(NamedTuple):
    """A transition, and the segments of the tokens."""

    transition: Transition
    segments: np.ndarray | None = None
    forms: tuple[str, ...] = FORMS


# longer and shorter than a chunk, and one whose number comes back
SEGMENTS = np.repeat([3, 0, 3, 1], [7, 2, 19, 9])
ANY = ("chunked", "associative", "sequential")
CASES = {
    "real": Case(DampedEma(4)),
    "complex": Case(S4D(3)),
    "ring": Case(LinearRecurrentUnit(3)),
    "moving": Case(Moving(), forms=ANY),
    "turning": Case(Turning(), SEGMENTS, ANY),
    "segments": Case(S4D(2), SEGMENTS, ANY),
}
# of one kind at all positions, and by token with segments; the moving average is held to its formula as a layer
USUAL = {"complex", "turning"}
every_case = pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
VALID = np.arange(TOKENS) % 6 != 4


@pytest.fixture
def small(monkeypatch):
    """Chunks that the tokens are no multiple of."""
    monkeypatch.setattr(recurrent_steady, "CHUNKS", ((math.inf, 8),))
    monkeypatch.setattr(recurrent, "STEPS", 8)


def drawn(case, seed=0):
    """Float64 data of a case: tokens, learned arrays and the initial state, as pairs of real numbers."""
    rng = np.random.default_rng(seed)
    own = case.transition.init(jax.random.key(seed), DIMS).params
    held = recurrent.start(case.transition, own, jnp.zeros((1, CHANNELS)))
    data = {"x": rng.normal(size=(TOKENS, CHANNELS)), "state": rng.normal(size=(2, *held.shape)), "own": own}
    return cast(data, jnp.float64)


def state_of(case, data):
    real, imaginary = data["state"]
    complex_ = case.transition.diagonal(data["own"], data["x"][:2]).phase is not None
    return jax.lax.complex(real, imaginary) if complex_ else real


def explicit(case, data):
    """Row by row the sum over tokens of the product of the factors in between, in one array of pairs."""
    x = jnp.where(VALID[:, None], data["x"], 0)
    made = case.transition.diagonal(data["own"], x)
    logs = made.log_decay + (0 if made.phase is None else 1j * made.phase)
    logs, drive, read = (jnp.broadcast_to(leaf, (TOKENS, *leaf.shape[1:])) for leaf in (logs, made.drive, made.read))
    i, j, k = np.arange(TOKENS)[:, None, None], np.arange(-1, TOKENS)[:, None], np.arange(TOKENS)
    between = (j < k) & (k <= i)
    seen = np.broadcast_to(j <= i, (TOKENS, TOKENS + 1, 1))[..., 0]
    if case.segments is not None:
        begins = np.diff(case.segments, prepend=case.segments[0]) != 0
        seen = seen & ~(between & begins).any(-1)
    left = jnp.where(seen[..., None, None], jnp.exp(jnp.einsum("ijk,kcn->ijcn", between.astype(float), logs)), 0)
    gained = jnp.concatenate([state_of(case, data)[None], drive * x[..., None]])
    held = jnp.einsum("ijcn,jcn->icn", left, gained)
    out = (read * held).real.sum(-1)
    return out if made.skip is None else out + made.skip * x, held[-1]


def in_form(case, data, form):
    segment = None if case.segments is None else jnp.asarray(case.segments)
    given = case.transition, data["own"], data["x"], state_of(case, data)
    return recurrent.recur(*given, form=form, valid=jnp.asarray(VALID), segment=segment)


@functools.partial(jax.jit, static_argnames="name")
def everything(data, *, name):
    """Output, final state and every gradient of each form, by the form's name."""
    case, rng = CASES[name], np.random.default_rng(7)
    weights = rng.normal(size=(TOKENS, CHANNELS))

    def of(form):
        def loss(data):
            out, state = form(data)
            state = jnp.stack([state.real, state.imag])
            of_state = np.random.default_rng(8).normal(size=state.shape)
            return (out * weights).sum() + (state * of_state).sum(), (out, state)

        (_, found), gradients = jax.value_and_grad(loss, has_aux=True)(data)
        return found, gradients

    forms = {form: functools.partial(in_form, case, form=form) for form in case.forms}
    return {name: of(form) for name, form in {"explicit": functools.partial(explicit, case), **forms}.items()}


@every_case
def test_every_form_is_the_explicit_one(name, small, float64):  # noqa: F811
    found = everything(drawn(CASES[name]), name=name)
    want = found.pop("explicit")
    assert set(found) == set(CASES[name].forms)
    for got in found.values():
        # float64: orders of summation differ, some hundred units in the last place
        assert_close(want, got, 1e-12)


LONG = 4097


def by_convolution(transition, own, x):
    """Sums of each channel with its kernel, whose powers are products of float64, one after the other."""
    made = jax.device_get(jax.jit(transition.diagonal)(own, x))
    factor = np.exp(made.log_decay[0] + (0 if made.phase is None else 1j * made.phase[0]))
    powers = np.cumprod(
        np.concatenate([np.ones_like(factor)[None], np.broadcast_to(factor, (len(x) - 1, *factor.shape))]), 0
    )
    kernel = (made.read * made.drive * powers).real.sum(-1)
    if made.skip is not None:
        kernel[0] += made.skip[0]
    return np.stack([np.convolve(kernel[:, n], x[:, n])[: len(x)] for n in range(x.shape[1])], 1)


@pytest.mark.parametrize("name", ["real", pytest.param("complex", marks=pytest.mark.slow)])
def test_long_lines_are_one_convolution_in_float32(name):
    transition = {"real": DampedEma(), "complex": S4D()}[name]
    own = transition.init(jax.random.key(0), DIMS).params
    # all noise, and a token at the end that would be heard at the start if the line were a ring
    rng, last = np.random.default_rng(0), np.zeros((LONG, CHANNELS), np.float32)
    last[-1] = 1
    noise = rng.normal(size=(LONG, CHANNELS)).astype(np.float32)
    with jax.enable_x64(True):
        want = [by_convolution(transition, cast(own, jnp.float64), x.astype(float)) for x in (noise, last)]
    for form in FORMS:
        run = jax.jit(lambda own, x, form=form: recurrent.recur(transition, own, x, form=form)[0])
        for x, right in zip((noise, last), want, strict=True):
            np.testing.assert_allclose(run(own, x), right, rtol=0, atol=1e-5 * np.abs(right).max())


@pytest.mark.slow
@pytest.mark.parametrize("dtype, relative", [("float32", 1e-5), ("float64", 1e-12)])
def test_long_lines_have_the_gradients_of_single_steps(dtype, relative, float64):  # noqa: F811
    transition, rng = DampedEma(), np.random.default_rng(0)
    own = jax.device_get(transition.init(jax.random.key(0), DIMS).params)
    data = {"x": rng.normal(size=(LONG, CHANNELS)), "state": rng.normal(size=(CHANNELS, 16)), "own": own}
    # the oracle sees what float32 sees
    data, weights = cast(cast(data, jnp.float32), dtype), rng.normal(size=(LONG, CHANNELS)).astype(dtype)

    def loss(data, form):
        out, state = recurrent.recur(transition, data["own"], data["x"], data["state"], form=form)
        return (out * weights.astype(out.dtype)).sum(), (out, state)

    run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (_, want), wanted = run(cast(data, jnp.float64), "sequential")
    for form in FORMS:
        (_, got), gradients = run(data, form)
        paths = jax.tree_util.tree_leaves_with_path((want, wanted))
        for (path, a), b in zip(paths, jax.tree.leaves((got, gradients)), strict=True):
            assert b.dtype == dtype
            off = np.abs(np.asarray(a) - np.asarray(b, float)).max() / np.abs(a).max()
            assert off <= relative, (form, jax.tree_util.keystr(path), off)


@pytest.mark.parametrize(
    "form", ["chunked", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS if form != "chunked")]
)
def test_any_split_gives_the_same(form, small, float64):  # noqa: F811
    case = CASES["complex"]
    data = drawn(case)
    call = jax.jit(lambda x, state: recurrent.recur(case.transition, data["own"], x, state, form=form))
    whole, after = call(data["x"], state_of(case, data))
    state, out = state_of(case, data), []
    for first, last in ((0, 1), (1, 1), (1, 9), (9, 25), (25, TOKENS)):
        found, state = call(data["x"][first:last], state)
        out.append(found)
    assert_close((whole, after.real, after.imag), (jnp.concatenate(out), state.real, state.imag), 1e-12)


def test_no_state_is_one_of_zeros_and_no_taps_are_all(small):
    case = CASES["complex"]
    data = cast(drawn(case), jnp.float32)
    start = recurrent.start(case.transition, data["own"], data["x"])
    assert start.dtype == jnp.complex64 and not start.any()
    run = jax.jit(
        lambda state, taps: recurrent.recur(case.transition, data["own"], data["x"], state, form="chunked", taps=taps),
        static_argnums=1,
    )
    for one, other in zip(run(None, None), run(start, TOKENS), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_stays_bfloat16_and_is_computed_in_float32():
    case = CASES["real"]
    data = cast(drawn(case), jnp.float32)
    narrow = data["x"].astype(jnp.bfloat16)
    run = jax.jit(lambda x: recurrent.recur(case.transition, data["own"], x, form="chunked"))
    (out, state), (want, held) = run(narrow), run(narrow.astype(jnp.float32))
    assert out.dtype == jnp.bfloat16 and state.dtype == jnp.float32
    np.testing.assert_array_equal(out, want.astype(jnp.bfloat16))
    np.testing.assert_array_equal(state, held)


def gradient(tokens, form, transition=DampedEma()):
    """The gradient in tokens and learned arrays of a form, and shapes for it."""
    dims = Dims(1, 1, 1, 8, 8, model_width=8)
    own = jax.eval_shape(lambda: transition.init(jax.random.key(0), dims).params)

    def loss(x, own):
        return (recurrent.recur(transition, own, x, form=form)[0] ** 2).sum()

    return jax.grad(loss, (0, 1)), (jax.ShapeDtypeStruct((tokens, 8), jnp.float32), own)


@pytest.mark.parametrize("form", ["convolution", "chunked", "sequential"])
def test_no_array_has_tokens_channels_and_states(form):
    function, shapes = gradient(4096, form)
    # transforms have twice the tokens; 16 states would be 16 times as many
    assert largest_intermediate(function, *shapes) <= 3 * 4096 * 8


@pytest.mark.slow
def test_memory_of_the_compiled_gradient_grows_with_the_tokens():
    few, many = (
        temporary_bytes(jax.jit(function).lower(*shapes).compile())
        for function, shapes in (gradient(tokens, "chunked") for tokens in (8192, 32768))
    )
    assert many <= 4.2 * few


def test_what_is_chosen_serves_the_call(monkeypatch):
    assert recurrent.chosen(4096, True, None) == "chunked" and recurrent.chosen(4096, True, 9) == "convolution"
    assert recurrent.chosen(16384, True, 9) == "chunked"
    assert recurrent.chosen(recurrent.FEW, True, None) == recurrent.chosen(4096, False, None) == "sequential"
    monkeypatch.setattr(recurrent.jax, "default_backend", lambda: "gpu")
    assert recurrent.chosen(4096, False, None) == "chunked"


def test_refusals():
    case = CASES["moving"]
    data = cast(drawn(case), jnp.float32)
    given = case.transition, data["own"], data["x"]
    with pytest.raises(ValueError, match="is one of convolution, chunked, associative, sequential, got 'fft'; leave"):
        recurrent.recur(*given, form="fft")
    with pytest.raises(ValueError, match="serves transitions that are the same at all positions, got Moving; use form"):
        recurrent.recur(*given, form="convolution")
    with pytest.raises(
        ValueError, match="The state of Moving is of real numbers, got complex ones; begin with `start`"
    ):
        recurrent.recur(*given, jnp.zeros((3, 2), jnp.complex64))
    with pytest.raises(ValueError, match="The state of Turning is of complex numbers, got real ones; begin with"):
        recurrent.recur(Turning(), *given[1:], jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="of 3 channels and 2 states, got the shape \\(3, 4\\); begin with `start`"):
        recurrent.recur(*given, jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="got 5 taps, Moving, one line and form='convolution'; use no"):
        recurrent.recur(*given, taps=5)
    case = CASES["segments"]
    data = cast(drawn(case), jnp.float32)
    with pytest.raises(ValueError, match="no place where a segment begins, got segments; use form='chunked'"):
        in_form(case, data, "convolution")
    with pytest.raises(
        ValueError, match="S4D has 3 channels in its log_decay, got 5 channels; make its arrays by init"
    ):
        recurrent.recur(case.transition, data["own"], jnp.zeros((4, 5)))


@pytest.mark.parametrize(
    "transition", [DampedEma(2), S4D(2), LinearRecurrentUnit(2)], ids=lambda made: type(made).__name__
)
def test_single_steps_lose_no_more_than_chunks_however_slowly_they_forget(transition, float64):  # noqa: F811
    own = transition.init(jax.random.key(0), DIMS).params
    if "alpha" in own:
        own |= {"alpha": own["alpha"] - 7}
    x = jax.random.normal(jax.random.key(1), (2048, CHANNELS))

    def run(form, kind):
        out, state = recurrent.recur(transition, cast(own, kind), x.astype(kind), form=form)
        return out, state.real, state.imag

    want = run("chunked", jnp.float64)
    # rounding of a factor alone, over and over, would be 2048 half places of 6e-8 in what is forgotten slowest
    for form in ("chunked", "sequential"):
        assert_close(want, run(form, jnp.float32), 5e-6)
