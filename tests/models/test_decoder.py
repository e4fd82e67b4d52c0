"""The decoder: causal, indifferent to padding, the same in pieces, looped, recomputed or in bfloat16."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer
from jattn.layers.heads.grouped import Grouped
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.delta import DeltaAttention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.short_convolution import ShortConvolution
from jattn.models.decoder import Decoder, DecoderConfig
from jattn.part import part
from jattn.parts.decays.retention import Retention
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.softmax import Softmax
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores import Score
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.t5_bias import T5Bias

TOKENS = jax.random.randint(jax.random.key(0), (2, 13), 0, 11)
WINDOWS = Causal() & Window((3, 5, 13, 2))

# every part in some decoder; the other slots differ too, so that a few decoders stand for the product
ATTENTIONS = {
    "rotary": Attention(mask=Causal(), position=Rotary()),
    "forgetting": Attention(Forgetting(), WINDOWS, Sink()),
    "t5": Attention(T5Bias(), Causal(align="last"), SquaredRelu()),
    "sparsemax": Attention((Forgetting(), T5Bias()), WINDOWS, Sparsemax(), Rotary()),
}


@part
class Noticing(Score):
    """Keeps a count of steps and a moving noise; changes no logit."""

    def buffers(self, rng, dims):
        return {"count": jnp.zeros((), jnp.int32), "noise": jax.random.normal(rng, (2,))}

    def refresh(self, own, observed, rng, step):
        return {"count": own["count"] + 1, "noise": jax.random.normal(rng, (2,))}

    def pairs(self, own, logits, tile):
        return logits + 0 * own["noise"].sum()


def config(attention, **options):
    sizes = dict(width=16, depth=2, heads=4, projection=Grouped(2), vocabulary=11) | options
    return DecoderConfig(attention=attention, **sizes)


@functools.cache
def made(attention=ATTENTIONS["rotary"], dtype=jnp.float32, remat="none", layers_at_once=None, **options):
    """Graph definition, params and buffers of a decoder with noise for weights, which costs no compilation."""
    model = nnx.eval_shape(
        lambda: Decoder(
            config(attention, **options), rngs=nnx.Rngs(0), dtype=dtype, remat=remat, layers_at_once=layers_at_once
        )
    )
    graphdef, params, buffers = nnx.split(model, nnx.Param, Buffer)
    rng = np.random.default_rng(0)

    def noise(path, leaf):
        gain = "scale" in jax.tree_util.keystr(path)
        return jnp.asarray(gain + 0.25 * rng.normal(size=leaf.shape), leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(noise, params), buffers


@functools.partial(jax.jit, static_argnums=0)
def run(graphdef, params, buffers, tokens, layout=None, state=None):
    return nnx.merge(graphdef, params, buffers)(tokens, layout=layout, state=state)


@functools.partial(jax.jit, static_argnums=0)
def graded(graphdef, params, buffers, tokens):
    def loss(params):
        decoded = nnx.merge(graphdef, params, buffers)(tokens[:, :-1])
        chosen = jnp.take_along_axis(jax.nn.log_softmax(decoded.logits), tokens[:, 1:, None], -1)
        return -chosen.mean() + 0.1 * decoded.record.stats.entropy.mean()

    return jax.value_and_grad(loss)(params)


def assert_close(want, got):
    """Float32 through two blocks of width 16, ordered differently: some tens of units in the last place."""
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        # the log of no mass is -inf
        size = max(1, np.abs(np.where(np.isfinite(a), a, 0)).max())
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=64 * np.finfo(np.float32).eps * size)


# these are compiled the longest, and engines decode them in tests of their own
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("t5", "sparsemax"))) for name in ATTENTIONS]
)
def test_decoding_in_pieces_is_one_pass(name):
    weights = made(ATTENTIONS[name])
    want = run(*weights, TOKENS)
    state, logits, stats = nnx.merge(*weights).state(2, 16), [], []
    for piece in jnp.split(TOKENS, [5, 6, 7], axis=1):
        decoded = run(*weights, piece, None, state)
        state = decoded.state
        logits.append(decoded.logits)
        stats.append(decoded.record.stats)
    assert_close(want.logits, jnp.concatenate(logits, 1))
    assert_close(want.record.stats, jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 2), *stats))
    assert want.record.stats.entropy.shape == (2, 2, 13, 4) and want.state is None


@pytest.mark.parametrize(
    "attention",
    [
        pytest.param(LinearAttention(decay=Retention(), position=Rotary()), id="linear"),
        pytest.param(ShortConvolution(DeltaAttention()), id="delta", marks=pytest.mark.slow),
    ],
)
def test_linear_attention_decodes_in_pieces_from_a_state_of_one_size(attention):
    weights = made(attention)
    want = run(*weights, TOKENS)
    model = nnx.merge(*weights)
    state, logits = model.state(2, 1), []
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, model.state(2, 1000))
    for piece in jnp.split(TOKENS, [11, 12], axis=1):
        decoded = run(*weights, piece, None, state)
        state = decoded.state
        logits.append(decoded.logits)
    assert_close(want.logits, jnp.concatenate(logits, 1))
    assert want.record.stats.entropy is None and want.record.stats.visible.shape == (2, 2, 13, 4)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_future_changes_nothing(name):
    weights = made(ATTENTIONS[name])
    before, after = run(*weights, TOKENS).logits, run(*weights, TOKENS.at[:, 7].add(1) % 11).logits
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert (abs(before[:, 7] - after[:, 7]).max(-1) > 1e-3).all()
    assert (abs(before[:, 8] - after[:, 8]).max(-1) > 1e-5).all()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "sparsemax" else ()) for name in ATTENTIONS]
)
def test_padding_changes_nothing(name):
    weights = made(ATTENTIONS[name])
    want = run(*weights, TOKENS[:, :9])
    valid = jnp.broadcast_to(jnp.arange(13) < 9, (2, 13))
    for layout in (Layout(valid=valid), Layout(valid=jnp.array([9, 9]))):
        got = run(*weights, TOKENS, layout)
        assert_close(want.logits, got.logits[:, :9])
        assert_close(want.record.stats, jax.tree.map(lambda leaf: leaf[:, :, :9], got.record.stats))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_gradient_is_real(name):
    weights = made(ATTENTIONS[name])
    _, grads = graded(*weights, TOKENS)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_loop_and_recomputation_change_nothing():
    want = graded(*made(), TOKENS)
    for options in ({"layers_at_once": 1}, {"remat": "block"}):
        assert_close(want, graded(*made(**options), TOKENS))


def test_a_fresh_decoder_predicts_every_token_alike():
    model = Decoder(config(ATTENTIONS["rotary"]), rngs=nnx.Rngs(0))
    assert not run(*nnx.split(model, nnx.Param, Buffer), TOKENS).logits.any()


def test_bfloat16_computes_on_float32_weights():
    weights, exact = made(dtype=jnp.bfloat16), run(*made(), TOKENS).logits
    got = run(*weights, TOKENS)
    assert got.logits.dtype == got.record.stats.entropy.dtype == jnp.float32
    # 8 bits a number, through two blocks
    assert abs(got.logits - exact).max() < 0.05 * abs(exact).max()
    _, grads = graded(*weights, TOKENS)
    assert {leaf.dtype for leaf in jax.tree.leaves((weights[1], grads))} == {jnp.dtype(jnp.float32)}
    assert nnx.merge(*weights).state(1, 3).repeat[0].key.dtype == jnp.bfloat16


def test_layer_norm_and_the_other_activations_run():
    for activation in ("gelu", "silu"):
        assert jnp.isfinite(run(*made(norm="layer", activation=activation), TOKENS).logits).all()


def test_a_training_step_carries_buffers_and_donates():
    model = Decoder(config(Attention(Noticing(), Causal())), rngs=nnx.Rngs(0))
    graphdef, params, buffers = nnx.split(model, nnx.Param, Buffer)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, buffers, tokens, number):
        buffers = nnx.merge(graphdef, params, buffers).refreshed({}, jax.random.key(0), number)
        _, grads = graded(graphdef, params, buffers, tokens)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), buffers

    structure = jax.tree.structure(buffers)
    for number in range(3):
        params, buffers = step(params, buffers, TOKENS, jnp.int32(number))
    assert jax.tree.structure(buffers) == structure
    held = nnx.merge(graphdef, params, buffers).stack.repeat[0].mixer.attending["score"]["0"]
    np.testing.assert_array_equal(held["count"][...], [3, 3])
    assert held["count"].dtype == jnp.int32 and len(np.unique(held["noise"][...])) == 4


def test_without_buffers_refreshing_computes_nothing():
    graphdef, params, buffers = made()
    traced = jax.make_jaxpr(lambda p: nnx.merge(graphdef, p, buffers).refreshed({}, jax.random.key(0), 0))(params)
    assert not traced.eqns or all(eqn.primitive.name.startswith("random") for eqn in traced.eqns)
    assert not traced.jaxpr.outvars


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"depth": -1}, "depth must be a whole number of at least 1, got -1"),
        ({"width": 18}, "multiple of the heads, got width 18 for 4 heads"),
        ({"projection": Grouped(3)}, "multiple of Grouped.key_heads, got 4 and 3"),
        ({"norm": "group"}, "group"),
        ({"activation": "tanh"}, "tanh"),
        ({"pruned": 3}, "pruned counts the deepest blocks .* at most 2, got 3"),
        ({"residual": "gated"}, "gated"),
        ({"feedforward": "fused"}, "no activation stands between its kernels, got .squared_relu.; use"),
        ({"attention": Softmax()}, "attention must be a Mechanism, got Softmax"),
        ({"attention": LinearAttention(order="full")}, "its rows may not see, got an attention of order 'full'"),
        ({"embedding": "shared"}, "embedding must be one of apart, tied, adaptive, got 'shared'"),
        ({"embedding": "adaptive"}, "DecoderConfig.cutoffs must rise between 0 and the vocabulary, 11, got"),
        ({"embedding_scale": 2.0}, "embedding_scale must be .* tied or adaptive, got 2.0 for one that is apart"),
        ({"embedding": "tied", "embedding_scale": 0}, "embedding_scale must be a finite number above 0"),
        ({"last_gains": "fixed"}, "last_gains must be one of learned, none, got 'fixed'"),
        ({"epsilon": 0.0}, "DecoderConfig.epsilon must be a finite number above 0, got 0.0; the default is 1e-06"),
        ({"dropout": 1}, r"DecoderConfig.dropout must be a probability in \[0, 1\), got 1"),
        ({"feedforward": "fused", "activation": "identity", "hidden_dropout": 0.1}, "hidden_dropout must be 0 where"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        config(**({"attention": ATTENTIONS["rotary"]} | options))


@pytest.mark.parametrize("pruned", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_deepest_blocks_without_a_feed_forward_layer(pruned):
    weights = made(pruned=pruned, norm="none", residual="scaled", feedforward="fused", activation="identity")
    want = run(*weights, TOKENS)
    assert want.record.stats.entropy.shape == (2, 2, 13, 4)
    state, logits, stats = nnx.merge(*weights).state(2, 16), [], []
    for piece in jnp.split(TOKENS, [5, 6], axis=1):
        decoded = run(*weights, piece, None, state)
        state = decoded.state
        logits.append(decoded.logits)
        stats.append(decoded.record.stats)
    assert_close(want.logits, jnp.concatenate(logits, 1))
    assert_close(want.record.stats, jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 2), *stats))
    _, grads = graded(*weights, TOKENS)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)
    fused = [path for path in nnx.to_flat_state(weights[1]).paths if "feedforward" in path]
    assert len(fused) == (2 - pruned > 0)


ADAPTIVE = {
    "embedding": "adaptive", "cutoffs": (3, 7), "factor": 2, "feedforward": "biased", "last_gains": "none"
}  # fmt: skip


@pytest.mark.parametrize("options", [{"embedding": "tied"}, ADAPTIVE], ids=["tied", "adaptive"])
def test_one_table_may_be_embedding_and_head(options):
    graphdef, params, buffers = made(depth=1, **options)

    @jax.jit
    def both(params):
        def loss(params):
            logits = nnx.merge(graphdef, params, buffers)(TOKENS).logits
            return (logits**2).mean(), logits

        return jax.grad(loss, has_aux=True)(params)

    grads, logits = both(params)
    assert logits.shape == (2, 13, 11) and "head" not in params
    # a norm that learns nothing is no entry at all
    assert ("norm" in params) == (options == {"embedding": "tied"})
    if "cutoffs" in options:
        # log-probabilities: a sum of 11 exponentials in float32
        np.testing.assert_allclose(np.exp(logits).sum(-1), 1, atol=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_features_are_dropped_with_a_key_alone():
    weights = made(dropout=0.2, hidden_dropout=0.2, feedforward="biased", depth=1)
    plain = run(*weights, TOKENS).logits
    noisy = jax.jit(lambda tokens, key: nnx.merge(*weights)(tokens, rng=key).logits)
    one, other = noisy(TOKENS, jax.random.key(0)), noisy(TOKENS, jax.random.key(1))
    assert (abs(one - plain).max(-1) > 1e-3).all() and (abs(one - other).max(-1) > 1e-3).all()
