"""The encoder: indifferent to padding and, without positions, to order; pooled or token by token."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer
from jattn.layers.heads.grouped import Grouped
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.encoder import Encoder, EncoderConfig, pooled
from jattn.part import Attended, Stats, part
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.t5_bias import T5Bias

TOKENS = jax.random.randint(jax.random.key(0), (2, 9), 0, 11)
POOLED = {"classes": 3, "positions": "sin_cos"}
TOKENWISE = {"attention": Attention(T5Bias(), position=Rotary()), "positions": "learned"}


@functools.cache
def made(attention=Attention(), **options):
    """Graph definition, params and buffers of an encoder with noise for weights."""
    config = EncoderConfig(
        width=16, depth=2, heads=4, projection=Grouped(2), vocabulary=11, length=13, attention=attention, **options
    )
    graphdef, params, buffers = nnx.split(nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0))), nnx.Param, Buffer)
    rng = np.random.default_rng(0)
    return (
        graphdef,
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 3, leaf.dtype), params),
        buffers,
    )


@functools.partial(jax.jit, static_argnums=0)
def run(graphdef, params, buffers, tokens, layout=None):
    return nnx.merge(graphdef, params, buffers)(tokens, layout=layout)


def assert_close(want, got):
    """Float32 through two blocks, ordered differently: some tens of units in the last place."""
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=64 * np.finfo(np.float32).eps * max(1, np.abs(a).max()))


@pytest.mark.parametrize("options", [POOLED, TOKENWISE], ids=["pooled", "tokenwise"])
def test_padding_changes_nothing(options):
    weights = made(**options)
    want = run(*weights, TOKENS)
    longer = jnp.pad(TOKENS, ((0, 0), (0, 4)), constant_values=7)
    for valid in (jnp.broadcast_to(jnp.arange(13) < 9, (2, 13)), jnp.array([9, 9])):
        got = run(*weights, longer, Layout(valid=valid))
        assert_close(want.logits, got.logits if "classes" in options else got.logits[:, :9])
        assert_close(want.record.stats, jax.tree.map(lambda leaf: leaf[:, :, :9], got.record.stats))
    # what an example leaves out changes itself alone
    got = run(*weights, longer, Layout(valid=jnp.array([9, 5]))).logits
    got = got if "classes" in options else got[:, :9]
    assert_close(want.logits[0], got[0])
    assert abs(want.logits[1] - got[1]).max() > 1e-3


def test_without_positions_order_is_nothing():
    weights, order = made(), jax.random.permutation(jax.random.key(1), 9)
    assert_close(run(*weights, TOKENS).logits[:, order], run(*weights, TOKENS[:, order]).logits)
    whole = made(classes=3)
    assert_close(run(*whole, TOKENS).logits, run(*whole, TOKENS[:, order]).logits)
    placed = made(**POOLED)
    assert abs(run(*placed, TOKENS).logits - run(*placed, TOKENS[:, order]).logits).max() > 1e-3


def test_every_token_sees_the_last_one():
    weights = made(**TOKENWISE)
    before, after = (run(*weights, tokens).logits for tokens in (TOKENS, TOKENS.at[:, -1].add(1) % 11))
    assert (abs(before - after).max(-1) > 1e-5).all()


@pytest.mark.parametrize("options", [POOLED, TOKENWISE], ids=["pooled", "tokenwise"])
def test_every_gradient_is_real(options):
    graphdef, params, buffers = made(**options)

    @jax.jit
    def graded(params):
        return jax.grad(lambda params: (run(graphdef, params, buffers, TOKENS).logits ** 2).mean())(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(graded(params)):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_what_is_pooled():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    valid = jnp.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(pooled(x, valid, "mean"), [[2, 3], [0, 0]])
    np.testing.assert_array_equal(pooled(x, None, "mean"), x.mean(1))
    np.testing.assert_array_equal(pooled(x, valid, "first"), x[:, 0])
    assert jnp.isfinite(jax.grad(lambda x: pooled(x, valid, "mean").sum())(x)).all()


FULL = LinearAttention(order="full")


@part
class Quadratic(Mechanism):
    """What `FULL` is: each row's weights of all valid keys, written out."""

    def apply(self, own, split, layout, rng, state):
        query, key = (jax.nn.elu(x) + 1 for x in (split.query, split.key))
        key, value = (jnp.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (key, split.value))
        weights = jnp.einsum("thd,shd->hts", query, key)
        if layout.valid is not None:
            weights = jnp.where(layout.valid[None, None], weights, 0)
        out = jnp.einsum("hts,she->the", weights / weights.sum(-1, keepdims=True), value)
        return Attended(out, Stats(None, None, None, jnp.zeros(out.shape[:2], int), {}))


@pytest.mark.parametrize("options", [POOLED, pytest.param({}, marks=pytest.mark.slow)], ids=["pooled", "tokenwise"])
def test_linear_attention_sees_all_keys_as_its_quadratic_form_does(options):
    longer = jnp.pad(TOKENS, ((0, 0), (0, 4)), constant_values=7)
    valid = jnp.arange(13)[None] < jnp.array([[9], [5]])

    @functools.partial(jax.jit, static_argnums=0)
    def graded(graphdef, params, tokens):
        def loss(params):
            logits = nnx.merge(graphdef, params, buffers)(tokens, layout=Layout(valid=valid)).logits
            logits = logits if "classes" in options else jnp.where(valid[..., None], logits, 0)
            return (logits**2).mean(), logits

        return jax.grad(loss, has_aux=True)(params)

    found = {}
    for attention in (Quadratic(), FULL):
        graphdef, params, buffers = made(attention, **options)
        found[attention] = graded(graphdef, params, longer)
    assert_close(found[Quadratic()], found[FULL])
    # what pads changes no bit
    other = jnp.where(valid, longer, longer - 3)
    for want, got in zip(*(jax.tree.leaves(x) for x in (found[FULL], graded(graphdef, params, other))), strict=True):
        np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 0}, "EncoderConfig.classes must be a whole number of at least 1, got 0"),
        ({"vocabulary": 0}, "vocabulary must be a whole number of at least 1"),
        ({"pool": "max"}, "pool must be one of mean, first, got 'max'"),
        ({"positions": "fourier"}, "positions must be one of none, learned, sin_cos, got 'fourier'"),
        ({"embedding_deviation": 0}, "embedding_deviation must be a finite number above 0, got 0; the default is 0.02"),
        ({"reads": "pixels"}, "reads must be one of tokens, numbers, got 'pixels'"),
        ({"reads": "numbers"}, "classes must be given where numbers are read or a classifier has a width, got None"),
        ({"classifier_width": 8}, "classes must be given"),
        ({"classes": 3, "classifier_width": 0}, "classifier_width must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        EncoderConfig(**options)


NUMBERS = {"reads": "numbers", "classes": 3, "classifier_width": 8, "feedforward": "biased"}


def test_numbers_are_read_of_a_line_or_of_an_image():
    graphdef, params, buffers = made(**NUMBERS)
    line = jax.random.normal(jax.random.key(2), (2, 9))

    @jax.jit
    def graded(params, inputs, layout):
        def loss(params):
            found = nnx.merge(graphdef, params, buffers)(inputs, layout=layout)
            return (found.logits**2).mean(), found

        return jax.grad(loss, has_aux=True)(params)

    # of the image's last pixels nothing is left
    image = jnp.pad(line, ((0, 0), (0, 3)), constant_values=7).reshape(2, 4, 3, 1)
    grads, want = graded(params, line, Layout())
    _, got = graded(params, image, Layout(valid=jnp.array([9, 9])))
    assert_close(want.logits, got.logits)
    np.testing.assert_allclose(
        nnx.merge(graphdef, params, buffers).head(want.features), want.logits, rtol=1e-5, atol=1e-6
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)
    with pytest.raises(TypeError, match="reads real numbers, got int32"):
        nnx.merge(graphdef, params, buffers)(TOKENS)


def test_what_it_is_called_with():
    assert EncoderConfig(**NUMBERS).inputs(9).dtype == jnp.float32 and EncoderConfig().inputs(9).dtype == jnp.int32
