"""Sampling: exact at its limits, repeatable, and independent of the rest of the batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.models.decoder import Decoder, DecoderConfig
from jattn.models.sampling import choose, generate, within
from jattn.parts.masks.window import Window

PROMPT = jax.random.randint(jax.random.key(0), (2, 4), 0, 11)
KEY = jax.random.key(1)


@functools.cache
def model():
    """Noise for weights, which costs no compilation."""
    config = DecoderConfig(width=16, depth=2, heads=2, vocabulary=11)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), state))


@functools.cache
def greedy():
    return generate(model(), PROMPT, count=6, temperature=0)


def test_greedy_is_the_likeliest_of_one_pass():
    text = greedy()
    assert text.shape == (2, 10) and text.dtype == PROMPT.dtype
    np.testing.assert_array_equal(text[:, :4], PROMPT)
    graphdef, state = nnx.split(model())
    likeliest = jax.jit(lambda state: nnx.merge(graphdef, state)(text[:, :-1]).logits.argmax(-1))(state)
    np.testing.assert_array_equal(text[:, 4:], likeliest[:, 3:])


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-6}])
def test_limits_are_greedy(options):
    np.testing.assert_array_equal(generate(model(), PROMPT, count=6, rng=KEY, **options), greedy())


def test_a_key_repeats_and_another_does_not():
    draw = functools.partial(generate, model(), PROMPT, count=6)
    one = draw(rng=KEY)
    np.testing.assert_array_equal(one, draw(rng=KEY))
    assert not np.array_equal(one, draw(rng=jax.random.key(2)))
    # an example draws the same alone
    np.testing.assert_array_equal(one[:1], generate(model(), PROMPT[:1], count=6, rng=KEY))


def test_draws_follow_the_weights_that_are_left():
    logits = jnp.log(jnp.array([0.1, 0.4, 0.3, 0.2]))

    def shares(top_k, top_p):
        keys = jax.random.split(KEY, 4000)
        drawn = jax.vmap(lambda key: choose(logits, key, 1.0, top_k, top_p))(keys)
        return np.bincount(drawn, minlength=4) / 4000

    # three deviations of a share of 4000 draws: 3 * sqrt(0.25 / 4000)
    np.testing.assert_allclose(shares(None, None), [0.1, 0.4, 0.3, 0.2], atol=0.024)
    np.testing.assert_allclose(shares(2, None), [0, 4 / 7, 3 / 7, 0], atol=0.024)
    np.testing.assert_allclose(shares(None, 0.75), [0, 4 / 9, 3 / 9, 2 / 9], atol=0.024)
    # the mass is that of the tokens which top_k left
    np.testing.assert_allclose(shares(2, 0.5), [0, 1, 0, 0], atol=0)


def test_ties_do_not_let_in_more_than_k():
    keys = jax.random.split(KEY, 50)
    assert set(jax.vmap(lambda key: choose(jnp.zeros(5), key, 1.0, 2, None))(keys).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count of at least 1 token, got 0"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1.0"),
        ({"top_k": 0}, "top_k must lie in 1 to 11, the vocabulary, got 0"),
        ({"top_p": 1.5}, "top_p must lie above 0 and at most at 1, got 1.5"),
        ({"rng": None}, "generate draws with a key, got rng=None"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        generate(model(), PROMPT, **({"count": 2, "rng": KEY} | options))


def test_prompts_without_tokens_are_refused():
    with pytest.raises(ValueError, match="at least 1 token, got shape"):
        generate(model(), PROMPT[:, :0], count=1, rng=KEY)
    with pytest.raises(TypeError, match="integer tokens, got float32"):
        generate(model(), PROMPT.astype(jnp.float32), count=1, rng=KEY)


def test_a_decoder_within_its_context_is_itself_there_and_blind_beyond():
    config = DecoderConfig(width=16, depth=1, heads=2, vocabulary=11)
    near = within(config, 3)
    assert near.attention.mask == config.attention.mask & Window(left=2)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), state)
    limited = nnx.graphdef(nnx.eval_shape(lambda: Decoder(near, rngs=nnx.Rngs(0))))
    text = PROMPT[:1]
    logits = [nnx.merge(graph, state)(text).logits for graph in (graphdef, limited)]
    np.testing.assert_allclose(logits[0][:, :3], logits[1][:, :3], rtol=1e-5, atol=1e-5)
    changed = nnx.merge(limited, state)(text.at[0, 0].set((text[0, 0] + 1) % 11)).logits
    np.testing.assert_array_equal(changed[:, 3], logits[1][:, 3])
    assert np.abs(logits[0][:, 3] - logits[1][:, 3]).max() > 1e-3
