"""Recurrences as layers: Mega's moving average as published, both ways, cut off, padded, decoded, as it starts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn import Dims, Recurrence, Variables
from jattn.transitions import S4D, DampedEma
from tests.support import float64  # noqa: F401

TOKENS, CHANNELS, EXPANSION = 37, 3, 4
DIMS = Dims(1, 1, 1, CHANNELS, CHANNELS, model_width=CHANNELS)
random = np.random.default_rng(0)
X = random.normal(size=(TOKENS, CHANNELS))
EMA = DampedEma(EXPANSION)


def params_of(recurrence, seed=0):
    return jax.device_get(recurrence.init(jax.random.key(seed), DIMS).params)


@functools.partial(jax.jit, static_argnums=1)
def run(x, recurrence, params, valid=None, segments=None, state=None):
    variables = Variables(params, {})
    return jattn.recur(x, recurrence, variables=variables, valid=valid, segments=segments, state=state)


def kernel(params, length=TOKENS):
    """K[l] = sum_n p beta q^l gamma / sqrt(h) in float64, channel by channel, by powers."""
    held = {name: np.asarray(leaf, float) for name, leaf in params.items()}
    p = 1 / (1 + np.exp(-held["delta"]))
    q = 1 - p / (1 + np.exp(-held["alpha"]))
    assert ((q > 0) & (q < 1)).all()
    powers = q[None] ** np.arange(length)[:, None, None]
    return (p * held["beta"] * held["gamma"] / np.sqrt(p.shape[1]) * powers).sum(-1)


def silu(x):
    return x / (1 + np.exp(-x))


def published(params, x=X, center="twice", taps=TOKENS):
    """Sums over lags with both kernels, lag 0 in both, and omega x, before SiLU."""
    forward = kernel(params["transition"])
    backward = kernel(params["backward"]) if "backward" in params else np.zeros_like(forward)
    out = params["omega"] * x
    for t in range(len(x)):
        for s in range(len(x)):
            lag = t - s
            if 0 <= lag < taps:
                out[t] += forward[lag] * x[s]
            if 0 <= -lag < taps and not (lag == 0 and center == "once"):
                out[t] += backward[-lag] * x[s]
    return out


def test_one_way_is_the_kernel_and_silu_and_residual_can_be_left_out(float64):  # noqa: F811
    params = params_of(Recurrence(EMA))
    bare = {"transition": params["transition"]}
    want = published(params)
    np.testing.assert_allclose(run(X, Recurrence(EMA), params).out, silu(want), rtol=0, atol=1e-12)
    plain = run(X, Recurrence(EMA, residual="none", activation="identity"), bare).out
    np.testing.assert_allclose(plain, want - params["omega"] * X, rtol=0, atol=1e-12)


@pytest.mark.parametrize("center, taps", [("twice", TOKENS), ("once", TOKENS), ("twice", 5), ("once", 5)])
def test_both_ways_are_two_sums(center, taps, float64):  # noqa: F811
    recurrence = Recurrence(EMA, EMA, center=center, truncation=None if taps == TOKENS else taps)
    params = params_of(recurrence)
    want = silu(published(params, center=center, taps=taps))
    np.testing.assert_allclose(run(X, recurrence, params).out, want, rtol=0, atol=1e-12)


def test_the_reversed_line_through_swapped_arrays_is_reversed(float64):  # noqa: F811
    recurrence = Recurrence(EMA, EMA)
    params = params_of(recurrence)
    swapped = params | {"transition": params["backward"], "backward": params["transition"]}
    forth, back = run(X, recurrence, params).out, run(X[::-1], recurrence, swapped).out
    np.testing.assert_allclose(back, forth[::-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", [1, 6, 20])
def test_a_truncated_kernel_changes_no_more_than_its_tail(taps, float64):  # noqa: F811
    whole = Recurrence(EMA, activation="identity")
    params = params_of(whole)
    tail = np.abs(kernel(params["transition"], 400)[taps:]).sum(0) * np.abs(X).max()
    cut = Recurrence(EMA, activation="identity", truncation=taps)
    off = np.abs(run(X, whole, params).out - run(X, cut, params).out).max(0)
    # beyond 400 tokens no digit of float64 is left
    assert (off <= tail + 1e-12).all() and (off > 0).all()


def test_padding_puts_nothing_in_but_its_rows_are_computed(float64):  # noqa: F811
    recurrence = Recurrence(EMA, EMA)
    params, valid = params_of(recurrence), np.arange(TOKENS) % 5 != 2
    heard = published(params, np.where(valid[:, None], X, 0)) + np.where(valid, 0, 1)[:, None] * params["omega"] * X
    found = run(X, recurrence, params, valid).out
    np.testing.assert_allclose(found, silu(heard), rtol=0, atol=1e-12)
    junk = run(np.where(valid[:, None], X, np.nan), recurrence, params, valid).out
    np.testing.assert_array_equal(junk[valid], found[valid])
    by_length = run(X, recurrence, params, jnp.int32(20)).out
    by_row = run(X, recurrence, params, np.arange(TOKENS) < 20).out
    np.testing.assert_array_equal(by_length, by_row)


def test_segments_are_lines_of_their_own(float64):  # noqa: F811
    recurrence, ends = Recurrence(S4D(2), S4D(2)), [0, 7, 9, 28, TOKENS]
    params, segments = params_of(recurrence), np.repeat([3, 0, 3, 1], np.diff(ends))
    found = run(X, recurrence, params, None, segments).out
    for first, last in zip(ends[:-1], ends[1:], strict=True):
        alone = run(X[first:last], recurrence, params).out
        np.testing.assert_allclose(found[first:last], alone, rtol=0, atol=1e-12)


def test_padded_nan_is_in_no_gradient():
    recurrence, valid = Recurrence(DampedEma(2)), jnp.arange(9) >= 3
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    own = recurrence.own(recurrence.init(jax.random.key(0), jattn.Dims(1, 1, 1, 3, 3, 3)))

    def loss(own, x):
        return (recurrence.apply(own, x, valid)[0][3:] ** 2).sum()

    graded = jax.jit(jax.grad(loss, (0, 1)))
    for one, other in zip(
        *(jax.tree.leaves(graded(own, np.where(valid[:, None], x, y))) for y in (0, np.nan)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("transition", [EMA, pytest.param(S4D(2), marks=pytest.mark.slow)])
def test_decoding_a_left_padded_batch_in_pieces_is_one_pass(transition):
    recurrence = Recurrence(transition, truncation=6)
    params = params_of(recurrence)
    own = recurrence.own(Variables(params, {}))
    x = np.stack([X, X[::-1]]).astype(np.float32)
    valid = np.arange(TOKENS) >= np.array([0, 11])[:, None]
    segments = np.repeat([4, 2], [20, TOKENS - 20])
    state = recurrence.state(DIMS, jnp.float32, own)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), state)
    step, out = jax.jit(lambda *data: run(data[0], recurrence, params, *data[1:])), []
    for first, last in ((0, 12), (12, 13), (13, 14), (14, 27), (27, TOKENS)):
        found = step(x[:, first:last], valid[:, first:last], segments[first:last], state)
        state = found.state
        out.append(found.out)
    # behind a state nothing is cut off
    whole = Recurrence(transition)
    for n, start in enumerate((0, 11)):
        want = run(x[n, start:], whole, params, None, segments[start:])
        assert want.state is None
        # float32: some hundred units in the last place of numbers of order 1
        np.testing.assert_allclose(np.concatenate(out, 1)[n, start:], want.out, rtol=0, atol=1e-5)


def test_arrays_start_as_published():
    made = Recurrence(DampedEma(16)).init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=65536)).params
    held = {name: np.asarray(leaf) for name, leaf in made["transition"].items()}
    for name, mean, spread in (("delta", 0, 0.2), ("alpha", 0, 0.2), ("gamma", 0, 1)):
        assert held[name].shape == (65536, 16)
        assert abs(held[name].mean() - mean) < 0.02 * spread and abs(held[name].std() / spread - 1) < 0.02
    assert abs(made["omega"].mean()) < 0.02 and abs(made["omega"].std() - 1) < 0.02
    rest = held["beta"] - np.where(np.arange(16) % 2, -1, 1)
    assert abs(rest.mean()) < 0.02 * 0.02 and abs(rest.std() / 0.02 - 1) < 0.02
    p, q = (1 / (1 + np.exp(-held[name])) for name in ("delta", "alpha"))
    assert abs(p.mean() - 0.5) < 0.01 and abs((1 - p * q).mean() - 0.75) < 0.01


def test_the_function_is_the_part_and_reads_its_options_off_the_arrays():
    for recurrence in (Recurrence(EMA), Recurrence(EMA, EMA, center="once", residual="none", truncation=9)):
        params, x = params_of(recurrence), X.astype(np.float32)
        options = {"center": recurrence.center, "truncation": recurrence.truncation}
        found = jattn.damped_ema(np.stack([x, x]), params, **options).out
        np.testing.assert_allclose(found[1], run(x, recurrence, params).out, rtol=0, atol=1e-6)
    narrow = jattn.damped_ema(x.astype(jnp.bfloat16), params).out
    assert narrow.dtype == jnp.bfloat16


def test_what_looks_ahead_says_so():
    assert Recurrence().looks_ahead(DIMS) is None
    assert Recurrence(backward=EMA).looks_ahead(DIMS) == "backward none"


def test_refusals():
    with pytest.raises(ValueError, match="truncation must be at least 1 token, got 0; leave it out to hear all"):
        Recurrence(truncation=0)
    with pytest.raises(ValueError, match="expansion must be at least 1, got 0; a layer that wants no average has none"):
        DampedEma(0)
    with pytest.raises(ValueError, match="form must be 'convolution' or .* got 'fft'; leave it out"):
        Recurrence(form="fft")
    with pytest.raises(ValueError, match="center must be 'twice' or 'once', got 'never'; leave it out for 'twice'"):
        Recurrence(center="never")
    with pytest.raises(ValueError, match="truncated recurrence is a convolution or chunks, got form='sequential'"):
        Recurrence(truncation=4, form="sequential")
    with pytest.raises(TypeError, match="backward must be a Transition or None, got str; build one"):
        Recurrence(backward="ema")
    params = params_of(Recurrence(EMA))
    both = Recurrence(EMA, EMA)
    held = Recurrence(EMA).state(DIMS, jnp.float32, Recurrence(EMA).own(Variables(params, {})))
    with pytest.raises(ValueError, match="rows that hear the tokens up to their own, got a backward transition"):
        run(X, both, params_of(both), None, None, held)
    with pytest.raises(ValueError, match="the axis 'context' keeps no decoding state, got one; decode with"):
        Recurrence(context_axis="context").state(DIMS, jnp.float32, {})
    with pytest.raises(ValueError, match="3 channels and 4 states, got the shape \\(3, 16\\); begin with `start`"):
        run(X, Recurrence(EMA), params, None, None, held._replace(states=jnp.zeros((3, 16))))
    with pytest.raises(ValueError, match="The state of a batch \\(2,\\) has its axes in front, got states \\(3, 4\\)"):
        run(np.stack([X, X]), Recurrence(EMA), params, None, None, held)
    with pytest.raises(ValueError, match=r"array 'omega' has the shape \(5,\) in a call .* got \(3,\)"):
        run(np.zeros((TOKENS, 5), np.float32), Recurrence(EMA), params)
    with pytest.raises(ValueError, match="goes over \\[..., time, channels\\], got the shape \\(37,\\)"):
        run(X[:, 0], Recurrence(EMA), params)
    with pytest.raises(TypeError, match="goes over a floating array, got int32"):
        run(np.zeros((4, 3), np.int32), Recurrence(EMA), params)
    with pytest.raises(ValueError, match="Segments of x \\(37, 3\\) has the shape \\(37,\\), got \\(5,\\)"):
        run(X, Recurrence(EMA), params, None, np.zeros(5, np.int32))
    with pytest.raises(KeyError, match="'transition/alpha', which the variables lack"):
        jattn.damped_ema(X.astype(np.float32), {"omega": params["omega"]})
