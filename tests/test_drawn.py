"""Calls of `jattn.dot_product_attention` drawn by hypothesis, beside the definition in float64, all gradients too."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jattn import dot_product_attention
from jattn.masks import Causal, Dilated, Prefix, Window

# pairs of queries and keys below which one call says little of the size of errors
SMALL = 10_000


class Form(NamedTuple):
    """What a compiled call is fixed to: sizes, the shapes of what goes with them, and options."""

    batch: tuple[int, ...] = (2,)
    tokens: tuple[int, int] = (7, 9)
    heads: tuple[int, int, int] = (4, 2, 2)
    widths: tuple[int, int] = (8, 8)
    dtype: type = np.float32
    bias: tuple[int, ...] | None = None
    # a shape, or one of `RULES`
    mask: tuple[int, ...] | str | None = None
    lengths: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    causal: int = 0
    scale: str | float | None = None


class Given(NamedTuple):
    """What differs between calls of one form."""

    seed: int
    size: float
    density: float
    lengths: tuple[tuple[int, ...], ...]


def scattered(batch, head, query, key):
    return (query + 2 * key + head + batch) % 4 != 0


# each a mask as a call takes it, and the same as a function of numbers
RULES: dict[str, tuple[object, Callable]] = {
    "scattered": (scattered, scattered),
    "undilated": (~Dilated(3), lambda b, h, q, k: (q - k) % 3 != 0),
    "sinks": (Causal() & (Window(5) | Prefix(2)), lambda b, h, q, k: (q >= k) & ((q - k <= 5) | (k < 2))),
}
LENGTHS = ("query_seq_lengths", "key_value_seq_lengths")

FORMS = [
    Form(),
    Form((), (1, 1), (1, 1, 1), (1, 2), bias=(1,), scale="learned"),
    Form((2, 3), (5, 11), (6, 2, 3), (4, 5), bias=(3, 1, 1, 11), mask=(6, 5, 1), causal=1),
    Form((3,), (13, 6), (6, 3, 1), (3, 7), np.float32, (13, 1), lengths=LENGTHS, window=(2, 1)),
    Form((2,), (40, 33), dtype=ml_dtypes.bfloat16, bias=(2, 1, 40, 33), mask="sinks", lengths=LENGTHS[1:]),
    Form((3,), (17, 19), dtype=ml_dtypes.bfloat16, mask=(3, 1, 1, 19), causal=1, scale=0.5),
    Form((), (21, 30), (3, 3, 3), (16, 4), np.float16, (3, 21, 30), (21, 30), scale="learned"),
    Form((2,), (9, 9), (4, 1, 1), mask="scattered", lengths=LENGTHS[:1], scale="learned"),
    Form((4,), (8, 0), bias=(1, 8, 1)),
    Form((1,), (600, 530), (2, 1, 2), (4, 3), bias=(2, 1, 530), lengths=LENGTHS, causal=1),
    Form((), (530, 1040), (2, 2, 1), (3, 5), bias=(1, 530, 1040), mask="undilated", window=(40, 300)),
    Form((2,), (520, 520), (2, 1, 1), (8, 8), ml_dtypes.bfloat16, mask=(2, 1, 1, 520), lengths=LENGTHS[1:]),
]


def shape_that_broadcasts(whole: tuple[int, ...]):
    """Each axis whole or 1, and some of the first ones left out."""
    cut = st.integers(0, len(whole))
    axes = st.tuples(*(st.sampled_from((n, 1)) for n in whole))
    return st.builds(lambda axes, cut: axes[cut:], axes, cut)


@st.composite
def forms(draw) -> Form:
    batch = draw(st.sampled_from([(), (1,), (2,), (3,), (2, 2)]))
    most = 700 if math.prod(batch) < 3 and draw(st.integers(0, 9)) == 9 else 45
    tokens = tuple(draw(st.integers(0, most)) for _ in range(2))
    key_heads, value_heads = (draw(st.integers(1, 3)) for _ in range(2))
    heads = math.lcm(key_heads, value_heads) * draw(st.integers(1, 2))
    pairs = (*batch, heads, *tokens)
    return Form(
        batch,
        tokens,
        (heads, key_heads, value_heads),
        (draw(st.integers(1, 17)), draw(st.integers(1, 17))),
        draw(st.sampled_from((np.float32, ml_dtypes.bfloat16, np.float16))),
        draw(st.none() | shape_that_broadcasts(pairs)),
        draw(st.none() | st.sampled_from(sorted(RULES)) | shape_that_broadcasts(pairs)),
        draw(st.sampled_from([(), LENGTHS[:1], LENGTHS[1:], LENGTHS])),
        draw(st.none() | st.tuples(st.integers(0, 20), st.integers(0, 20))),
        draw(st.integers(0, 1)),
        draw(st.sampled_from([None, 0.3, "learned"])),
    )


@st.composite
def calls(draw, form: Form) -> Given:
    count, sizes = math.prod(form.batch), dict(zip(LENGTHS, form.tokens, strict=True))
    # the simplest example is the one with every token
    lengths = tuple(
        tuple(draw(st.integers(0, sizes[name]).map(lambda n, name=name: sizes[name] - n)) for _ in range(count))
        for name in form.lengths
    )
    return Given(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from([1.0, 0.01])),
        draw(st.sampled_from([0.5, 0.95, 0.05, 0.0])),
        lengths,
    )


def made(form: Form, given: Given) -> tuple[dict, dict, tuple]:
    """The arrays that have gradients, the other ones, and what output and log-normalizer are weighed with."""
    rng = np.random.default_rng(given.seed)
    (t, s), (h, g, j), (d, e) = form.tokens, form.heads, form.widths
    shapes = {"query": (t, h, d), "key": (s, g, d), "value": (s, j, e)}
    smooth = {name: rng.normal(size=(*form.batch, *shape)).astype(form.dtype) for name, shape in shapes.items()}
    smooth["query"] = (given.size * smooth["query"].astype(np.float32)).astype(form.dtype)
    if form.bias is not None:
        smooth["bias"] = rng.normal(size=form.bias).astype(form.dtype)
    if form.scale == "learned":
        smooth["scale"] = np.asarray(rng.uniform(0.1, 1), form.dtype)
    fixed = {
        name: np.reshape(np.asarray(lengths, np.int32), form.batch)
        for name, lengths in zip(form.lengths, given.lengths, strict=True)
    }
    if isinstance(form.mask, tuple):
        fixed["mask"] = rng.random(form.mask) < given.density
    out = rng.normal(size=(*form.batch, t, h, e)).astype(form.dtype)
    return smooth, fixed, (out, rng.normal(size=(*form.batch, t, h)).astype(np.float32))


@functools.lru_cache
def ours(form: Form) -> Callable:
    """Output, log-normalizer and gradients of a call of this form, compiled."""
    options = {"is_causal": bool(form.causal), "local_window_size": form.window, "return_residual": True}
    if isinstance(form.mask, str):
        options["mask"] = RULES[form.mask][0]
    if isinstance(form.scale, float):
        options["scale"] = form.scale

    @jax.jit
    def run(smooth, fixed, weights):
        found, pull = jax.vjp(lambda smooth: dot_product_attention(**smooth, **fixed, **options), smooth)
        return found, pull(tuple(x.astype(y.dtype) for x, y in zip(weights, found, strict=True)))[0]

    return run


def seen_pairs(form: Form, fixed: dict) -> np.ndarray:
    """Which query sees which key, by the words of the arguments: batch axes, heads, queries, keys."""
    (t, s), heads = form.tokens, form.heads[0]
    pairs = (1,) * len(form.batch)
    batch = np.arange(math.prod(form.batch)).reshape(*form.batch, 1, 1, 1)
    head = np.arange(heads).reshape(*pairs, heads, 1, 1)
    query, key = np.arange(t).reshape(*pairs, 1, t, 1), np.arange(s).reshape(*pairs, 1, 1, s)
    seen = np.ones((*form.batch, heads, t, s), bool)
    if form.causal:
        seen &= query >= key
    if form.window:
        seen &= (query - key <= form.window[0]) & (key - query <= form.window[1])
    if isinstance(form.mask, str):
        seen &= RULES[form.mask][1](batch, head, query, key)
    if "mask" in fixed:
        seen &= fixed["mask"]
    for name, position in zip(LENGTHS, (query, key), strict=True):
        if name in fixed:
            seen &= position < fixed[name][..., None, None, None]
    return seen


def defined(form: Form, smooth: dict, seen: np.ndarray, weights: tuple, dtype: type) -> tuple[tuple, dict]:
    """What `ours` gives, by the definition in `dtype`: what each line gives is rounded to that, sums are not inside."""
    wide = np.promote_types(np.float32, dtype) if dtype != ml_dtypes.bfloat16 else np.float32

    def kept(x):
        return np.asarray(x).astype(dtype).astype(wide)

    def heads_first(x, count):
        return np.repeat(np.moveaxis(kept(x), -2, -3), heads // count, axis=-3)

    def of_groups(x, count):
        grouped = x.reshape(*x.shape[:-3], count, heads // count, *x.shape[-2:])
        return np.moveaxis(kept(grouped.sum(-3)), -3, -2)

    heads, key_heads, value_heads = form.heads
    q, k, v, dout = (
        heads_first(x, count)
        for x, count in zip((smooth["query"], smooth["key"], smooth["value"], weights[0]),
                            (*form.heads, heads), strict=True)
    )  # fmt: skip
    scale = form.scale if isinstance(form.scale, float) else smooth.get("scale", form.widths[0] ** -0.5)
    scale, last_two = kept(scale), (*range(q.ndim - 2), q.ndim - 1, q.ndim - 2)
    products = kept(q @ k.transpose(last_two))
    logits = kept(products * scale)
    if "bias" in smooth:
        logits = kept(logits + kept(smooth["bias"]))
    some = seen.any(-1, keepdims=True)
    top = np.where(some, np.where(seen, logits, -np.inf).max(-1, keepdims=True, initial=-np.inf), 0)
    raised = np.where(seen, kept(np.exp(np.where(seen, logits - top, 0))), 0)
    mass = np.where(some, kept(raised.sum(-1, keepdims=True)), 1)
    shares = kept(raised / mass)
    out = kept(shares @ v)
    normalizer = np.where(some, kept(np.log(mass) + top), -np.inf)

    dnormalizer = np.moveaxis(kept(weights[1]), -1, -2)[..., None]
    dshares = kept(dout @ v.transpose(last_two))
    dlogits = kept(shares * (dshares - kept((shares * dshares).sum(-1, keepdims=True)) + dnormalizer))
    grads = {
        "query": np.moveaxis(kept(scale * (dlogits @ k)), -3, -2),
        "key": of_groups(scale * (dlogits.transpose(last_two) @ q), key_heads),
        "value": of_groups(shares.transpose(last_two) @ dout, value_heads),
    }
    if "bias" in smooth:
        grads["bias"] = kept(summed_to(dlogits, smooth["bias"].shape))
    if "scale" in smooth:
        # one after the other: NumPy's sum by pairs errs less than a sum of JAX
        grads["scale"] = kept(np.cumsum(kept(dlogits * products))[-1:].sum())
    return (np.moveaxis(out, -3, -2), np.moveaxis(normalizer[..., 0], -1, -2)), grads


def summed_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    lead = x.ndim - len(shape)
    axes = (*range(lead), *(lead + n for n, size in enumerate(shape) if size == 1))
    return x.sum(axes, keepdims=True).reshape(shape)


def readings(form: Form, given: Given) -> tuple[tuple, tuple, tuple]:
    """What a call gives in float64 and in its dtype by the definition, and the arrays that `ours` takes."""
    smooth, fixed, weights = made(form, given)
    seen = seen_pairs(form, fixed)
    # in rows without keys no residual weighs
    weighing = (weights[0], np.where(np.moveaxis(seen.any(-1), -2, -1), weights[1], 0))
    exact, naive = (defined(form, smooth, seen, weighing, dtype) for dtype in (np.float64, form.dtype))
    return exact, naive, (smooth, fixed, weights)


def faults(form: Form, given: Given) -> list[str]:
    """What is further from float64 than twice the definition's error in the dtype and one unit in the last place.

    That error is the largest over the array, in a small call of this one and of seven with other numbers: over a few
    elements, or the one of a scale, it may be 0 by luck.
    """
    exact, naive, arrays = readings(form, given)
    got = ours(form)(*arrays)
    pairs = [(exact, naive)]
    if math.prod(form.tokens) < SMALL:
        pairs += [readings(form, given._replace(seed=given.seed + n))[:2] for n in range(1, 8)]
    errors = [jax.tree.map(lambda a, b: np.abs(finite(a) - finite(b)).max(initial=0), *pair) for pair in pairs]
    found = []
    paths = jax.tree_util.tree_leaves_with_path(exact)
    leaves = (jax.tree.leaves(x) for x in (got, *errors))
    for (path, a), c, *others in zip(paths, *leaves, strict=True):
        name, want = jax.tree_util.keystr(path), np.float32 if path == paths[1][0] else form.dtype
        if c.dtype != want or c.shape != a.shape:
            found.append(f"{name}: {c.dtype} {c.shape}, not {np.dtype(want)} {a.shape}")
            continue
        if (np.isneginf(a) != np.isneginf(c)).any():
            found.append(f"{name}: other rows are empty")
            continue
        largest = np.abs(finite(a)).max(initial=0)
        bound = 2 * max(others) + float(ml_dtypes.finfo(form.dtype).eps) * largest
        error = np.abs(finite(a) - finite(c)).max(initial=0)
        # not a number is no less than the bound
        if not error <= bound:
            found.append(f"{name}: off by {error:.3g}, allowed {bound:.3g}, largest {largest:.3g}")
    return found


def finite(x: np.ndarray) -> np.ndarray:
    """With 0 for the log-normalizer of a row that sees no key."""
    x = np.asarray(x, np.float64)
    return np.where(np.isneginf(x), 0, x)


def drawn(examples: int):
    # each example may compile; what shrinks one would take minutes
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "x".join(map(str, form.tokens)))
def test_calls_of_fixed_forms_are_those_of_the_definition(form):
    @drawn(2)
    @given(calls(form))
    def holds(call):
        assert not faults(form, call)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(10))
def test_calls_of_any_form_are_those_of_the_definition(piece):
    @seed(piece)
    @settings(drawn(30), derandomize=False)
    @given(st.data())
    def holds(data):
        form = data.draw(forms())
        call = data.draw(calls(form))
        assert (form, call) in BEYOND or not faults(form, call)

    holds()


# drawn calls whose gradients err more than the rule allows: the backward pass computes logits anew, in another order
# than the row's log-normalizer was, and that is rounded; both count where logits, not their differences, are large.
# The mean of a row's gradients comes from its output, in another order of sums as well, where the definition's cancels
BEYOND = [
    (
        Form((2,), (22, 21), (6, 3, 1), (13, 7), np.float32, (1, 6, 1, 21), "scattered", LENGTHS, None, 1, "learned"),
        Given(2221713035, 1.0, 0.5, ((22, 7), (1, 1))),
    ),
    (
        Form((), (21, 16), (3, 3, 1), (2, 8), bias=(1, 21, 16), lengths=LENGTHS[:1], window=(19, 8)),
        Given(65535, 4.0, 0.5, ((4,),)),
    ),
    *(
        (
            Form((), (21, 1), (2, 2, 1), (2, 8), bias=(1, 21, 1), lengths=LENGTHS[:1], window=(19, right)),
            Given(number, 0.01, 0.5, ((4,),)),
        )
        for right, number in ((8, 65535), (8, 2), (6, 2), (0, 2))
    ),
    (
        Form((), (44, 43), (2, 2, 1), (17, 3), bias=(2, 1, 43), mask=(2, 44, 43), causal=1),
        Given(64, 4.0, 0.05, ()),
    ),
]


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="logits that are computed again differ from those of the log-normalizer")
@pytest.mark.parametrize(("form", "call"), BEYOND)
def test_calls_beyond_the_rule(form, call):
    assert not faults(form, call)
