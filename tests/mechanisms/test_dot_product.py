"""The drop-in beside `jax.nn` in float32 and beside the definition in float64, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import dot_product
from jattn.mechanisms.call import Given
from jattn.mechanisms.dot_product import dot_product_attention
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window
from tests.support import largest_intermediate

T, S, H, G, D = 7, 9, 4, 2, 8
LENGTHS = np.array([5, 9], np.int32)


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def qkv(*batch, tokens=T, keys=S, width=D, value_heads=G):
    return (
        draw(*batch, tokens, H, D),
        draw(*batch, keys, G, D, seed=1),
        draw(*batch, keys, value_heads, width, seed=2),
    )


def given(keys=T, **options):
    absent = Given(*(None,) * len(Given._fields))
    return absent._replace(**dict(zip(("query", "key", "value"), qkv(2, keys=keys), strict=True)), **options)


def defined(q, k, v, bias=None, seen=True, scale=D**-0.5):
    """Output and log-normalizer by the definition, in the dtype of the inputs; `seen` broadcasts to [..., h, t, s]."""
    k, v = (jnp.repeat(x, q.shape[-2] // x.shape[-2], axis=-2) for x in (k, v))
    logits = scale * jnp.einsum("...thd,...shd->...hts", q, k)
    with jax.numpy_rank_promotion("allow"):
        logits = logits if bias is None else logits + bias
        seen = jnp.broadcast_to(jnp.asarray(seen), logits.shape)
    some = seen.any(-1, keepdims=True)
    top = jnp.where(seen, logits, -jnp.inf).max(-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(some, top, 0))
    weights = jnp.where(seen, jnp.exp(jnp.where(seen, logits - top, 0)), 0)
    mass = jnp.where(some, weights.sum(-1, keepdims=True), 1)
    normalizer = jnp.where(some, jnp.log(mass) + top, -jnp.inf)[..., 0]
    return jnp.einsum("...hts,...shd->...thd", weights / mass, v), jnp.moveaxis(normalizer, -1, -2)


def weighed(out, normalizer):
    """A sum that reads every number, each by a weight of its own."""
    rng = np.random.default_rng(7)
    normalizer = jnp.where(jnp.isfinite(normalizer), normalizer, 0)
    return sum((x * rng.normal(size=x.shape).astype(x.dtype)).sum() for x in (out, normalizer))


def measured(function, *arrays):
    """Output, log-normalizer, and the gradients of their weighed sum."""

    def loss(*arrays):
        found = function(*arrays)
        return weighed(*found), found

    grads, found = jax.jit(jax.grad(loss, tuple(range(len(arrays))), has_aux=True))(*arrays)
    return *found, *grads


def assert_as_exact_as_naive(ours, definition, *arrays):
    """Ours in float32 errs at most twice as much as the definition in float32 does, and one unit in the last place."""
    got, naive = measured(ours, *arrays), measured(definition, *arrays)
    with jax.enable_x64(True):
        exact = measured(definition, *(np.asarray(x, np.float64) for x in arrays))
    for a, b, c in zip(exact, naive, got, strict=True):
        a, b, c = (np.nan_to_num(np.asarray(x, np.float64), neginf=-7.0) for x in (a, b, c))
        assert a.shape == c.shape
        bound = 2 * np.abs(a - b).max() + np.finfo(np.float32).eps * np.abs(a).max()
        assert np.abs(a - c).max() <= bound


def seen_pairs(causal=False, left=None, right=None, queries=T, keys=S):
    distance = np.arange(T)[:, None] - np.arange(S)[None, :]
    seen = (np.arange(T)[:, None] < np.reshape(queries, (-1, 1, 1, 1))) & (
        np.arange(S) < np.reshape(keys, (-1, 1, 1, 1))
    )
    seen = seen & (distance >= 0) if causal else seen
    return seen if left is None else seen & (distance <= left) & (distance >= -right)


CASES = {
    "plain": ({}, seen_pairs()),
    "causal": ({"is_causal": True}, seen_pairs(causal=True)),
    "window": ({"local_window_size": 2}, seen_pairs(left=2, right=2)),
    "causal window": ({"is_causal": True, "local_window_size": (3, 1)}, seen_pairs(causal=True, left=3, right=1)),
    "keys": ({"key_value_seq_lengths": LENGTHS}, seen_pairs(keys=LENGTHS)),
    "sides": (
        {"query_seq_lengths": np.array([7, 3], np.int32), "key_value_seq_lengths": LENGTHS, "is_causal": True},
        seen_pairs(causal=True, queries=[7, 3], keys=LENGTHS),
    ),
    "scale": ({"scale": D**-0.5}, seen_pairs()),
}
EMPTY = {
    "no keys": ({"key_value_seq_lengths": np.array([0, 9], np.int32)}, seen_pairs(keys=[0, 9])),
    "no queries": ({"query_seq_lengths": np.array([0, 9], np.int32)}, seen_pairs(queries=[0, 9])),
    "window past the keys": (
        {"key_value_seq_lengths": np.array([2, 5], np.int32), "local_window_size": (1, 0)},
        seen_pairs(left=1, right=0, keys=[2, 5]),
    ),
}


@pytest.mark.parametrize("case", CASES | EMPTY)
def test_values_and_gradients_are_those_of_the_definition(case):
    options, seen = (CASES | EMPTY)[case]

    def ours(q, k, v):
        return dot_product_attention(q, k, v, return_residual=True, **options)

    assert_as_exact_as_naive(ours, lambda q, k, v: defined(q, k, v, seen=seen), *qkv(2))


@pytest.mark.parametrize("implementation", [None, "dense", "xla"])
@pytest.mark.parametrize("case", CASES)
def test_each_implementation_equals_jax_nn(case, implementation):
    options, _ = CASES[case]

    def both(call, *arrays):
        out, pull = jax.vjp(lambda *arrays: call(*arrays, **options), *arrays)
        return out, *pull(draw(*out.shape, seed=8))

    arrays = (*qkv(2), draw(1, H, T, S, seed=4))
    want = both(jax.nn.dot_product_attention, *arrays)
    got = both(lambda *a, **o: dot_product_attention(*a, implementation=implementation, **o), *arrays)
    # two float32 results, each some units in the last place off
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(a, b, atol=4e-6)


@pytest.mark.parametrize("implementation", [None, "dense", "xla"])
@pytest.mark.parametrize("case", EMPTY)
def test_rows_without_keys_are_0_and_so_are_their_gradients(case, implementation):
    options, seen = EMPTY[case]
    out, pull = jax.vjp(lambda *a: dot_product_attention(*a, implementation=implementation, **options), *qkv(2))
    rows = np.broadcast_to(seen.any(-1)[:, 0, :, None, None], out.shape)
    assert not np.asarray(out)[~rows].any() and np.asarray(out)[rows].all()
    blind = pull(jnp.where(rows, 0, 1.0))
    assert not any(np.asarray(x).any() for x in blind)
    np.testing.assert_allclose(out, defined(*qkv(2), seen=seen)[0], atol=2e-6)


SHAPES = [(), (S,), (T, 1), (H, 1, 1), (1, T, S), (2, H, T, S), (1, H, 1, S), (2, 1, 1, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_bias_of_every_shape_has_its_gradient(shape):
    def ours(*arrays):
        return dot_product_attention(*arrays, is_causal=True, return_residual=True)

    def definition(q, k, v, bias):
        return defined(q, k, v, bias, seen_pairs(causal=True))

    assert_as_exact_as_naive(ours, definition, *qkv(2), draw(*shape, seed=4))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mask_of_every_shape(shape):
    mask = np.random.default_rng(3).random(shape) < 0.7
    got = dot_product_attention(*qkv(2), mask=jnp.asarray(mask), is_causal=True)
    np.testing.assert_allclose(got, defined(*qkv(2), seen=mask & seen_pairs(causal=True))[0], atol=2e-6)


@pytest.mark.parametrize("shape", [(2, 1, H, T, S), (3, 1, 1, S), (2, 3, 1, 1, S), (1, 1, H, T, 1)], ids=str)
def test_any_leading_axes_and_what_they_share(shape):
    bias, lengths = draw(*shape, seed=4), np.array([[9, 0, 3], [1, 5, 9]])
    q, k, v = qkv(2, 3, width=5, value_heads=1)
    got = dot_product_attention(q, k, v, bias, key_value_seq_lengths=lengths)
    seen = np.arange(S) < lengths[..., None, None, None]
    np.testing.assert_allclose(got, defined(q, k, v, bias, seen)[0], atol=2e-6)


def test_one_example_takes_lengths_with_and_without_an_axis():
    for lengths in (np.array(5), np.array([5])):
        got = dot_product_attention(*qkv(), key_value_seq_lengths=lengths)
        np.testing.assert_allclose(got, defined(*qkv(), seen=np.arange(S) < 5)[0], atol=2e-6)


def test_a_mask_may_be_a_part_or_a_function_of_pairs():
    part = Window(2) & Causal() | Prefix(1)
    want = dot_product_attention(
        *qkv(2), mask=seen_pairs(causal=True, left=2, right=0) | (np.arange(S) < 1), key_value_seq_lengths=LENGTHS
    )
    got = dot_product_attention(*qkv(2), mask=part, key_value_seq_lengths=LENGTHS)
    np.testing.assert_array_equal(want, got)
    reach = jnp.array(2)
    near = dot_product_attention(*qkv(2), mask=lambda b, h, q, k: abs(q - k) <= reach, is_causal=True)
    np.testing.assert_array_equal(near, dot_product_attention(*qkv(2), local_window_size=2, is_causal=True))


@pytest.mark.parametrize("implementation", [None, "dense", "xla"])
def test_a_learned_scale_has_its_gradient(implementation):
    def loss(call):
        return jax.value_and_grad(lambda scale: (call(scale) ** 2).sum())(jnp.asarray(0.3))

    got = loss(lambda scale: dot_product_attention(*qkv(2), scale=scale, implementation=implementation))
    want = loss(lambda scale: defined(*qkv(2), scale=scale)[0])
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_residual_is_float32_and_output_bfloat16():
    arrays = [x.astype(jnp.bfloat16) for x in qkv(2)]
    out, residual = dot_product_attention(*arrays, is_causal=True, return_residual=True)
    assert out.dtype == jnp.bfloat16 and residual.dtype == jnp.float32
    want = defined(*(x.astype(jnp.float32) for x in arrays), seen=seen_pairs(causal=True))
    # weights and output are rounded to 8 bits once each; the residual is not
    np.testing.assert_allclose(out.astype(jnp.float32), want[0], atol=2 * 2.0**-8 * float(jnp.abs(want[0]).max()))
    np.testing.assert_allclose(residual, want[1], atol=1e-5)


def test_forward_mode_and_second_order_by_the_dense_form():
    def value(q):
        return (dot_product_attention(q, *qkv()[1:], is_causal=True, implementation="dense") ** 2).sum()

    def definition(q):
        return (defined(q, *qkv()[1:], seen=seen_pairs(causal=True)[0])[0] ** 2).sum()

    direction = draw(T, H, D, seed=6)
    for function in (
        lambda f: jax.jvp(f, (qkv()[0],), (direction,)),
        lambda f: jax.jvp(jax.grad(f), *[(direction,)] * 2),
    ):
        for got, want in zip(function(value), function(definition), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_no_key_and_no_query_at_all():
    q, k, v = qkv(2, keys=0)
    out, residual = dot_product_attention(q, k, v, return_residual=True)
    assert out.shape == (2, T, H, D) and not out.any() and np.isneginf(residual).all()
    assert dot_product_attention(*qkv(2, tokens=0)).shape == (2, 0, H, D)


def test_under_vmap_as_with_a_batch_axis():
    mapped = jax.vmap(dot_product_attention, (0, 0, 0, None, None))(*qkv(3), None, None)
    np.testing.assert_allclose(mapped, dot_product_attention(*qkv(3)), atol=1e-6)


def test_a_second_call_compiles_nothing():
    dot_product_attention(*qkv(5), is_causal=True, scale=jnp.asarray(0.1))
    before = dot_product._serve._cache_size()
    dot_product_attention(*(2 * x for x in qkv(5)), is_causal=True, scale=jnp.asarray(0.2))
    assert dot_product._serve._cache_size() == before


@pytest.mark.parametrize(
    ("platform", "asked", "unable", "serves"),
    [
        ("gpu", None, [], "cudnn"),
        ("gpu", None, ["no reason"], "tiled"),
        ("gpu", "tiled", [], "tiled"),
        ("cpu", None, [], "tiled"),
    ],
)
def test_on_a_gpu_the_kernel_serves_what_it_can(platform, asked, unable, serves, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(dot_product, "refusals", lambda call: unable if call.options.implementation == "cudnn" else [])
    assert dot_product.resolved(given(implementation=asked)).options.implementation == serves


@pytest.mark.parametrize(
    ("options", "keys", "all_see"),
    [
        ({}, 3, True),
        ({"is_causal": True}, 3, True),
        ({}, 0, False),
        ({"local_window_size": (4, 0)}, T, True),
        # the last of T queries looks back over 4 tokens
        ({"local_window_size": (4, 0)}, T - 4, True),
        ({"local_window_size": (4, 0)}, T - 5, False),
        ({"key_value_seq_lengths": np.array([2, 2])}, 3, False),
        ({"query_seq_lengths": np.array([2, 2])}, 3, False),
        ({"mask": np.ones((1, 1, T, 3), bool)}, 3, False),
    ],
)
def test_it_is_known_from_shapes_whether_every_row_sees_a_key(options, keys, all_see):
    call = dot_product.resolved(given(keys, **options))
    assert dot_product.all_see(call) == all_see
    if not options.keys() & {"mask", "query_seq_lengths", "key_value_seq_lengths"}:
        rows = dot_product_attention(*qkv(2, keys=keys), return_residual=True, **options)[1]
        assert np.isfinite(rows).all() == all_see


def test_what_jax_nn_cannot_serve_is_refused_with_the_reasons():
    with pytest.raises(ValueError, match="'xla' cannot serve this call: .* is an array, not an object; its residual"):
        dot_product_attention(*qkv(2), mask=Causal(), implementation="xla", return_residual=True)


def far(tokens=1009):
    """The gradient of a call with data of many kinds, and its arguments: one head of width 2."""
    arrays = [draw(2, tokens, 1, 2, seed=n) for n in range(3)]
    lengths = jnp.array([tokens, tokens - 400])

    def loss(query, key, value, bias):
        out, residual = dot_product_attention(
            query,
            key,
            value,
            bias,
            mask=Prefix(4) | Window(100),
            scale=query.mean(),
            key_value_seq_lengths=lengths,
            is_causal=True,
            return_residual=True,
        )
        return out.sum() + jnp.where(jnp.isfinite(residual), residual, 0).sum()

    return jax.grad(loss, (0, 1, 2, 3)), (*arrays, draw(2, 1, 1, tokens))


def test_no_value_has_queries_times_keys_elements():
    gradient, arrays = far()
    assert largest_intermediate(gradient, *arrays) < 1009**2
