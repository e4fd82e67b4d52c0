"""Flax's multi-head layers with our attention inside, against the same layers with their own."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jattn
from jattn.layers.hook import attention_fn
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables, part
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores import Score
from jattn.parts.scores.alibi import Alibi
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.t5_bias import T5Bias, bucket
from tests.support import assert_close, float64  # noqa: F401

HEADS, WIDTH, TOKENS, KEYS = 4, 12, 9, 11
LENGTHS = np.array([11, 4])
LIBRARIES = ("linen", "nnx")
# sums of a dozen terms in float64, differently ordered
ROUNDING = 1e-12
# NNX hands float64 without dropout to jax.nn, whose softmax is in float32; with a rate it computes by itself
EXACT = {"linen": {}, "nnx": {"dropout_rate": 0.1, "deterministic": True}}
learned = Attention(T5Bias(sides="both"))


def draw(*shape, dtype=None):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), dtype)


def split(hook, **options):
    """A fresh layer of NNX, its params apart."""
    options |= {} if hook is None else {"attention_fn": hook}
    made = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(1), **options)
    return nnx.split(made, nnx.Param, ...)


def layer(library, hook=None, **options):
    """Params of a fresh layer of Flax, and the layer as a function of them and its inputs."""
    if library == "linen":
        options |= {} if hook is None else {"attention_fn": hook}
        made = linen.MultiHeadDotProductAttention(HEADS, **options)
        params = made.init(jax.random.key(1), draw(2, TOKENS, WIDTH), deterministic=True, sow_weights=True)
        return params, made.apply
    graph, params, rest = split(hook, **options)
    return params, lambda params, *inputs, **call: nnx.merge(graph, params, rest)(*inputs, **call)


def sowing(library, hook=None, **options):
    """As `layer`, but the function gives what the layer sows, by name."""
    if library == "linen":
        params, apply = layer(library, hook, **options)

        def sown(params, *inputs, **call):
            _, found = apply(params, *inputs, sow_weights=True, mutable=["intermediates"], **call)
            return {name: entries[-1] for name, entries in found["intermediates"].items()}

        return params, sown
    graph, params, rest = split(hook, **options)

    def captured(params, *inputs, **call):
        run = nnx.capture(lambda module: module(*inputs, sow_weights=True, **call), nnx.Intermediate)
        _, found = run(nnx.merge(graph, params, rest))
        return {name: entries[-1] for name, entries in nnx.to_pure_dict(found).items()}

    return params, captured


def readings(apply, params, *inputs, read=lambda out: out, **call):
    """What `read` makes of the output, and the gradient of its weighted sum in params and inputs."""

    def loss(params, *inputs):
        out = read(apply(params, *inputs, **call))
        return (out * jnp.asarray(np.random.default_rng(5).normal(size=out.shape), out.dtype)).sum(), out

    both = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(1 + len(inputs))), has_aux=True))
    (_, out), grads = both(params, *inputs)
    return out, jax.tree.leaves(grads)


def lengths_mask():
    return linen.make_attention_mask(jnp.ones((2, TOKENS)), jnp.arange(KEYS)[None] < LENGTHS[:, None])


def order_mask():
    positions = [jnp.broadcast_to(jnp.arange(n), (2, n)) for n in (TOKENS, KEYS)]
    return linen.make_attention_mask(*positions, jnp.greater_equal)


def heads_mask():
    return (draw(2, HEADS, TOKENS, KEYS) > 0).at[..., 0].set(True)


MASKS = {
    "none": lambda: None,
    "lengths and order": lambda: linen.combine_masks(lengths_mask(), order_mask()),
    "one for all": lambda: order_mask()[:1],
    "by head": heads_mask,
    "whole numbers": lambda: lengths_mask().astype(jnp.int32),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", MASKS)
def test_equals_flax(float64, library, name):  # noqa: F811
    mask, inputs = MASKS[name](), (draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH))
    want, got = (
        readings(apply, params, *inputs, mask=mask)
        for params, apply in (
            layer(library, hook, param_dtype=float, **EXACT[library]) for hook in (None, attention_fn())
        )
    )
    assert_close(want, got, ROUNDING)


@pytest.mark.parametrize("name", ["none", "whole numbers"])
def test_what_nnx_alone_can_do_equals_nnx(float64, name):  # noqa: F811
    mask, inputs = MASKS[name](), (draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH))
    want, got = (
        readings(apply, params, *inputs, mask=mask, is_causal=True)
        for params, apply in (
            layer("nnx", hook, param_dtype=float, num_kv_heads=2, **EXACT["nnx"]) for hook in (None, attention_fn())
        )
    )
    assert_close(want, got, ROUNDING)


def test_a_causal_mask_of_flax_is_our_causal(float64):  # noqa: F811
    params, apply = layer("linen", attention_fn(), param_dtype=float)
    _, causal = layer("linen", attention_fn(Attention(mask=Causal())), param_dtype=float)
    x = draw(2, TOKENS, WIDTH)
    assert_close(
        readings(apply, params, x, mask=linen.make_causal_mask(x[..., 0])), readings(causal, params, x), ROUNDING
    )


@pytest.mark.parametrize(
    "bias, mask",
    [
        ((2, HEADS, TOKENS, KEYS), (2, 1, 1, KEYS)),
        ((HEADS, TOKENS, 1), (1, TOKENS, KEYS)),
        ((TOKENS, KEYS), (TOKENS, KEYS)),
        ((1, 1, 1, KEYS), (1, HEADS, 1, KEYS)),
    ],
)
def test_biases_broadcast_as_in_flax(float64, bias, mask):  # noqa: F811
    visible = (draw(*mask) > 0).at[..., 0].set(True)

    def attended(function, params, key, value):
        # Flax adds arrays of fewer axes as NumPy would
        with jax.numpy_rank_promotion("allow"):
            return function(params["query"], key, value, params["bias"], visible)

    params = {"query": draw(2, TOKENS, HEADS, 3), "bias": draw(*bias)}
    inputs = draw(2, KEYS, HEADS, 3), draw(2, KEYS, HEADS, 5)
    want, got = (
        readings(functools.partial(attended, function), params, *inputs)
        for function in (linen.dot_product_attention, attention_fn())
    )
    assert_close(want, got, ROUNDING)


def test_any_batch_axes(float64):  # noqa: F811
    shape = (2, 3, TOKENS, HEADS, 4)
    query, key, value = draw(*shape), draw(*shape) + 1, draw(*shape) * 2
    mask = (draw(3, 1, TOKENS, TOKENS) > 0).at[..., 0].set(True)
    with jax.numpy_rank_promotion("allow"):
        want = linen.dot_product_attention(query, key, value, mask=mask)
    assert_close(want, attention_fn()(query, key, value, mask=mask), ROUNDING)
    assert_close(want[1, 2], attention_fn()(query[1, 2], key[1, 2], value[1, 2], mask=mask[2]), ROUNDING)


@pytest.mark.parametrize("library", LIBRARIES)
def test_bfloat16_is_as_exact_as_flax(float64, library):  # noqa: F811
    inputs, mask = (draw(2, TOKENS, WIDTH, dtype=jnp.float32), draw(2, KEYS, WIDTH, dtype=jnp.float32)), order_mask()
    wide = jax.tree.map(lambda x: x.astype(float), inputs)
    params, exact = layer(library, param_dtype=jnp.float32, dtype=float)
    truth = readings(exact, params, *wide, mask=mask)
    naive, got = (
        readings(layer(library, hook, param_dtype=jnp.float32, dtype=jnp.bfloat16)[1], params, *inputs, mask=mask)
        for hook in (None, attention_fn())
    )
    assert got[0].dtype == jnp.bfloat16
    for a, b, c in zip(*(jax.tree.leaves(x) for x in (truth, naive, got)), strict=True):
        a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
        # twice what Flax errs, and one unit in the last place
        assert np.abs(a - c).max() <= 2 * np.abs(a - b).max() + 2.0**-8 * np.abs(a).max()


def test_inputs_are_promoted_as_flax_does():
    query, key = draw(TOKENS, HEADS, 3, dtype=jnp.bfloat16), draw(KEYS, HEADS, 3, dtype=jnp.float32)
    assert attention_fn()(query, key, key).dtype == jnp.float32
    assert attention_fn()(query, key, key, dtype=jnp.bfloat16).dtype == jnp.bfloat16


def test_a_row_that_sees_no_key_gives_0():
    query, key = draw(TOKENS, HEADS, 3), draw(KEYS, HEADS, 3)
    mask = jnp.ones((1, TOKENS, KEYS)).at[0, 5].set(0)
    out = attention_fn()(query, key, key, mask=mask)
    assert not out[5].any() and out[4].any()
    # where Flax gives the mean of the values
    flax = linen.dot_product_attention(query, key, key, mask=mask)
    np.testing.assert_allclose(flax[5], key.mean(0), atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_sown_entropy_trains_as_that_of_flax_weights(float64, library):  # noqa: F811
    inputs, mask = (draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH)), lengths_mask()

    def dense(sown):
        weights = jnp.moveaxis(sown["attention_weights"], 1, 2)
        return -(weights * jnp.log(jnp.where(weights > 0, weights, 1))).sum(-1)

    params, theirs = sowing(library, param_dtype=float)
    _, ours = sowing(library, attention_fn(), param_dtype=float)
    want = readings(theirs, params, *inputs, mask=mask, read=dense)
    got = readings(ours, params, *inputs, mask=mask, read=lambda sown: sown["entropy"])
    assert_close(want, got, ROUNDING)
    assert any(jnp.abs(grad).max() > 1e-2 for grad in got[1])

    def loss(params):
        return ours(params, *inputs, mask=mask)["entropy"].mean()

    before, step = loss(params), jax.jit(jax.grad(loss))
    for _ in range(5):
        params = jax.tree.map(lambda p, g: p - g, params, step(params))
    assert loss(params) < 0.9 * before


@pytest.mark.parametrize("library", LIBRARIES)
def test_everything_sown_is_that_of_the_logits(float64, library):  # noqa: F811
    params, ours = sowing(library, attention_fn(), param_dtype=float, use_bias=False)
    query, memory = draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH)
    found = ours(params, query, memory, mask=heads_mask())
    plain = params["params"] if library == "linen" else nnx.to_pure_dict(params)
    q, k = (jnp.einsum("btm,mhd->bthd", x, plain[name]["kernel"]) for name, x in (("query", query), ("key", memory)))
    logits = jnp.where(heads_mask(), jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(3), -jnp.inf)
    assert set(found) == {"entropy", "log_normalizer", "max_logit"}
    assert_close(jax.nn.logsumexp(logits, -1).swapaxes(1, 2), found["log_normalizer"], ROUNDING)
    assert_close(logits.max(-1).swapaxes(1, 2), found["max_logit"], ROUNDING)


def biased(library, table):
    """Flax's own attention with the bias that a table means, in float64."""
    offset = jnp.arange(TOKENS)[:, None] - jnp.arange(KEYS)[None]
    bias = table[:, bucket(offset, 32, 128, "both")][None]
    theirs = linen.dot_product_attention if library == "linen" else nnx.dot_product_attention
    return functools.partial(theirs, bias=bias)


def test_linen_owns_a_learned_bias(float64):  # noqa: F811
    params, apply = layer("linen", attention_fn(learned), param_dtype=float)
    table = params["params"]["attention"]["score"]["0"]["table"]
    assert table.shape == (HEADS, 32)

    def flax(params, *inputs):
        rest = dict(params["params"])
        theirs = biased("linen", rest.pop("attention")["score"]["0"]["table"])
        made = linen.MultiHeadDotProductAttention(HEADS, param_dtype=float, attention_fn=theirs)
        return made.apply({"params": rest}, *inputs)

    inputs = draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH)
    got = readings(apply, params, *inputs, sow_weights=True)
    assert_close(readings(flax, params, *inputs), got, ROUNDING)
    assert jnp.abs(got[1][0]).max() > 1e-2 and got[1][0].shape == table.shape


def test_nnx_owns_the_variables_of_the_hook(float64):  # noqa: F811
    variables = learned.init(jax.random.key(7), Dims(HEADS, HEADS, HEADS, 3, 3))
    params, apply = layer("nnx", attention_fn(learned, variables=variables), param_dtype=float)
    np.testing.assert_array_equal(
        nnx.to_pure_dict(params)["attention_fn"]["held"]["score"]["0"]["table"], variables.params["score"]["0"]["table"]
    )
    bare, _ = layer("nnx", param_dtype=float)

    def flax(params, *inputs):
        plain = nnx.to_pure_dict(params)
        theirs = biased("nnx", plain.pop("attention_fn")["held"]["score"]["0"]["table"])
        _, apply = layer("nnx", theirs, param_dtype=float, **EXACT["nnx"])
        return apply(jax.tree.unflatten(jax.tree.structure(bare), jax.tree.leaves(plain)), *inputs)

    inputs = draw(2, TOKENS, WIDTH), draw(2, KEYS, WIDTH)
    got = readings(apply, params, *inputs)
    assert_close(readings(flax, params, *inputs), got, ROUNDING)
    (grad,) = [grad for grad in got[1] if grad.shape == (HEADS, 32)]
    assert jnp.abs(grad).max() > 1e-2


def test_linen_takes_given_variables_as_they_are(float64):  # noqa: F811
    params, apply = layer("linen", attention_fn(learned), param_dtype=float)
    own = params["params"]["attention"]
    rest = {"params": {name: entry for name, entry in params["params"].items() if name != "attention"}}
    x = draw(2, TOKENS, WIDTH)

    def given(own):
        made = linen.MultiHeadDotProductAttention(
            HEADS, param_dtype=float, attention_fn=attention_fn(learned, variables=Variables(own, {}))
        )
        return (made.apply(rest, x) ** 2).sum()

    def owned(own):
        return (apply({"params": {**rest["params"], "attention": own}}, x, sow_weights=True) ** 2).sum()

    want, got = (jax.jit(jax.value_and_grad(f))(own) for f in (owned, given))
    assert_close(want, got, ROUNDING)


@part
class Kept(Score):
    """Adds to every logit of a head what it learned, times what it kept."""

    def params(self, rng, dims):
        return {"gain": jnp.ones(dims.heads, jnp.float32)}

    def buffers(self, rng, dims):
        return {"noise": jax.random.normal(rng, (dims.heads,), jnp.float32), "count": jnp.zeros((), jnp.int32)}

    def pairs(self, own, logits, tile):
        shift = own["gain"].astype(logits.dtype) * own["noise"].astype(logits.dtype)
        return logits + shift[tile.place.head][:, None, None]


def test_linen_keeps_buffers_apart_and_params_in_their_dtype():
    variables, sown = sowing("linen", attention_fn(Attention(Kept())), param_dtype=jnp.bfloat16)
    assert variables["params"]["attention"]["score"]["0"]["gain"].dtype == jnp.bfloat16
    kept = variables["buffers"]["attention"]["score"]["0"]
    assert kept["noise"].dtype == jnp.float32 and kept["count"].dtype == jnp.int32
    moved = {**variables, "buffers": {"attention": {"score": {"0": {**kept, "noise": kept["noise"] + 2}}}}}
    x = draw(2, TOKENS, WIDTH, dtype=jnp.float32)
    before, after = (sown(v, x)["max_logit"] for v in (variables, moved))
    # float32, of logits of size 1
    np.testing.assert_allclose(after, before + 2, atol=1e-5)


def test_layers_of_nnx_may_share_a_hook():
    class Two(nnx.Module):
        def __init__(self, hook):
            made = functools.partial(nnx.MultiHeadAttention, HEADS, WIDTH, decode=False, attention_fn=hook)
            self.first, self.second = made(rngs=nnx.Rngs(0)), made(rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.second(self.first(x))

    x = draw(2, TOKENS, WIDTH, dtype=jnp.float32)
    loss = nnx.jit(nnx.value_and_grad(lambda module, x: (module(x) ** 2).sum()))
    want, got = (loss(Two(hook), x) for hook in (nnx.dot_product_attention, attention_fn()))
    # float32 through two layers; the loss is of size 10
    assert_close(*(jax.tree.map(jnp.asarray, (v, jax.tree.leaves(g))) for v, g in (want, got)), 1e-5)


def test_dropout_drops_weights_one_by_one():
    query, key = draw(2, 64, 3, 4, dtype=jnp.float32), draw(2, 48, 3, 4, dtype=jnp.float32)
    value = jnp.broadcast_to(jnp.eye(48, dtype=jnp.float32)[None, :, None], (2, 48, 3, 48))
    call = functools.partial(attention_fn(), query, key, value, dropout_rate=0.3, broadcast_dropout=False)
    whole, got = call(deterministic=True), call(dropout_rng=jax.random.key(3))
    kept = np.asarray(got != 0)
    # a weight that stays grows by 1 / 0.7; float32
    np.testing.assert_allclose(got, np.where(kept, whole / 0.7, 0), rtol=1e-5)
    # four deviations of a share of 18432 draws
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.3 * 0.7 / kept.size)
    assert (kept[0] != kept[1]).any() and (kept[:, :, 0] != kept[:, :, 1]).any()
    np.testing.assert_array_equal(got, call(dropout_rng=jax.random.key(3)))
    assert ((call(dropout_rng=jax.random.key(4)) != 0) != kept).any()


@pytest.mark.parametrize("library", LIBRARIES)
def test_dropout_is_that_of_the_layer(library):
    _, apply = layer(library, attention_fn(), dropout_rate=0.5, broadcast_dropout=False)
    params, without = layer(library, attention_fn())
    x = draw(2, TOKENS, WIDTH, dtype=jnp.float32)

    def call(seed):
        rngs = {"dropout": jax.random.key(seed)} if library == "linen" else nnx.Rngs(dropout=seed)
        return apply(params, x, deterministic=False, rngs=rngs)

    np.testing.assert_array_equal(call(1), call(1))
    assert jnp.abs(call(1) - call(2)).max() > 1e-2
    np.testing.assert_array_equal(apply(params, x, deterministic=True), without(params, x))


def products(jaxpr):
    """Every matrix product of a jaxpr, inner ones too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.parametrize(
    "given, exact",
    [
        (None, None),
        ("highest", jax.lax.Precision.HIGHEST),
        ("fastest", jax.lax.Precision.DEFAULT),
        (jax.lax.Precision.HIGH, jax.lax.Precision.HIGH),
        (("high", "high"), jax.lax.Precision.HIGH),
        ("BF16_BF16_F32_X3", jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X3),
        (jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X6, jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X6),
    ],
)
def test_precision_reaches_every_product(given, exact):
    x = draw(TOKENS, HEADS, 3, dtype=jnp.float32)
    loss = lambda x: attention_fn()(x, x, x, precision=given).sum()  # noqa: E731
    forward, gradient = (list(products(jax.make_jaxpr(f)(x).jaxpr)) for f in (loss, jax.grad(loss)))
    assert len(forward) == 2 and len(gradient) > 4
    assert all(one in (exact, (exact, exact)) for one in forward + gradient)


@pytest.mark.parametrize("library", LIBRARIES)
def test_decoding_equals_flax(library):
    x = draw(2, 5, WIDTH, dtype=jnp.float32)

    def decoded(**options):
        if library == "linen":
            made = linen.MultiHeadDotProductAttention(HEADS, decode=True, **options)
            variables = made.init(jax.random.key(0), x)
            for n in range(3):
                out, cache = made.apply(variables, x[:, n : n + 1], mutable=["cache"])
                variables = {**variables, **cache}
            return out
        made = nnx.MultiHeadAttention(HEADS, WIDTH, decode=True, rngs=nnx.Rngs(0), **options)
        made.init_cache(x.shape)
        return [made(x[:, n : n + 1]) for n in range(3)][-1]

    # float32 through four products of 12 terms
    assert_close(decoded(), decoded(attention_fn=attention_fn()), 1e-5)


def test_positions_are_those_of_both_sides():
    x = draw(2, TOKENS, HEADS, 4, dtype=jnp.float32)
    attention, positions = Attention(mask=Causal(), position=Rotary()), jnp.array([0, 1, 2, 3, 0, 1, 2, 3, 4])
    want = jattn.attend(x, x, x, attention, layout=jattn.Layout(positions=positions))
    got = attention_fn(attention)(x, x, x, input_positions=positions)
    np.testing.assert_array_equal(want.out, got)


def refused(error, *words):
    return pytest.raises(error, match=".*".join(re.escape(word) for word in words))


def test_what_cannot_be_built_is_refused():
    with refused(TypeError, "serves an Attention, got Softmax; use"):
        attention_fn(jattn.normalizers.Softmax())
    with refused(TypeError, "takes what attention.init gives, Variables, got dict;"):
        attention_fn(variables={"params": {}})
    with refused(ValueError, "got Attention.dropout=0.1;", "dropout_rate=0.1"):
        attention_fn(Attention(dropout=0.1))
    with refused(ValueError, "got Forgetting, which reads the layer's input; use jattn.nn.MultiHead"):
        attention_fn(Attention(Forgetting()))


X = np.ones((2, 3, HEADS, 4), np.float32)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "call, words",
    [
        ({"dropout_rate": 0.5}, ("got a dropout_rate without dropout_rng;",)),
        ({"dropout_rate": 0.5, "dropout_rng": KEY}, ("got broadcast_dropout=True; give the Flax layer",)),
        (
            {"dropout_rate": 1.0, "dropout_rng": KEY, "broadcast_dropout": False},
            ("must be a probability in [0, 1), got 1.0",),
        ),
        (
            {"dropout_rate": -0.1, "dropout_rng": KEY, "broadcast_dropout": False},
            ("must be a probability in [0, 1), got -0.1",),
        ),
        ({"qk_attn_weights_einsum": jnp.einsum}, ("makes no matrix of weights, got an einsum",)),
        ({"attn_weights_value_einsum": jnp.einsum}, ("makes no matrix of weights, got an einsum",)),
        (
            {"mask": np.ones((2, 5, 3, 3))},
            (
                "A mask broadcasts to",
                "= (2, 4, 3, 3), got (2, 5, 3, 3); add",
            ),
        ),
        ({"mask": np.ones((1, 2, 4, 3, 3))}, ("A mask broadcasts to",)),
        (
            {"bias": np.ones((2, 3, 3))},
            (
                "A bias broadcasts to",
                "got (2, 3, 3)",
            ),
        ),
        (
            {"precision": ("high", "highest")},
            (
                "One precision serves all products",
                "got ('high', 'highest')",
            ),
        ),
        ({"precision": "exact"}, ("got 'exact'; jax.lax.Precision.HIGHEST",)),
    ],
)
def test_what_would_be_ignored_is_refused(call, words):
    with refused(ValueError, *words):
        attention_fn()(X, X, X, **call)


def test_arrays_without_an_owner_are_refused():
    words = "got none for params/score/0/table; pass attention_fn(..., variables=", "sow_weights=True"
    x = draw(2, TOKENS, WIDTH, dtype=jnp.float32)
    hook = attention_fn(learned)
    with refused(ValueError, *words):
        linen.MultiHeadDotProductAttention(HEADS, attention_fn=hook).init(KEY, x)
    made = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, attention_fn=hook, rngs=nnx.Rngs(0))
    with refused(ValueError, *words):
        made(x, sow_weights=True)


@pytest.mark.parametrize("attention", [Attention(mask=Causal()), Attention(score=Alibi())], ids=["mask", "score"])
def test_parts_that_read_positions_are_refused_where_flax_decodes(attention):
    layer = linen.MultiHeadDotProductAttention(2, decode=True, attention_fn=attention_fn(attention))
    x = jax.random.normal(jax.random.key(0), (1, 5, 8))
    variables = layer.init(jax.random.key(1), x)
    with pytest.raises(ValueError, match="Flax's layers say no positions when they decode, got one query for 5 keys"):
        layer.apply(variables, x[:, :1], mutable=["cache"])
