"""Which tokens are hidden and how, by key and position alone; and that they alone cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.training.objectives.masked_tokens import MaskedTokens, hidden

TOKENS = np.random.default_rng(0).integers(0, 256, (8, 2001)).astype(np.int32)
LOGITS = jax.random.normal(jax.random.key(1), (8, 2000, 257))
hide = jax.jit(hidden, static_argnums=(2, 3))


def keys(count):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(count))


def forward(variables, tokens, rng):
    return LOGITS, Record(None, {}), None


def test_fifteen_percent_are_chosen_and_eight_of_ten_of_them_masked():
    tokens = TOKENS[:, 1:]
    found = hide(tokens, keys(8), 0.15, 256)
    chosen = np.asarray(found.chosen)
    masked, stays = found.tokens == 256, found.tokens == tokens
    # 16,000 tokens, 2,400 chosen: four standard deviations of the binomial
    assert abs(chosen.mean() - 0.15) < 4 * (0.15 * 0.85 / 16000) ** 0.5
    assert abs(masked[chosen].mean() - 0.8) < 4 * (0.8 * 0.2 / 2400) ** 0.5
    # one of 256 drawn is the token itself
    assert abs(stays[chosen].mean() - (0.1 + 0.1 / 256)) < 4 * (0.1 * 0.9 / 2400) ** 0.5
    assert stays[~chosen].all() and found.tokens.dtype == np.int32
    drawn = np.asarray(found.tokens)[chosen & ~masked & ~stays]
    assert drawn.min() < 16 and 240 <= drawn.max() < 256


def test_the_key_and_the_position_alone_decide():
    tokens, whole = TOKENS[:, 1:], hide(TOKENS[:, 1:], keys(8), 0.15, 256)
    short = hide(tokens[:3, :77], keys(3), 0.15, 256)
    for all_of_it, part in zip(whole, short, strict=True):
        np.testing.assert_array_equal(all_of_it[:3, :77], part)
    assert (whole.chosen[0] != whole.chosen[1]).any()


def test_hidden_tokens_alone_cost():
    objective, key = MaskedTokens(), jax.random.key(5)
    loss, _ = objective(forward, {}, {"tokens": TOKENS}, key)
    hiding, _ = jax.random.split(key)
    chosen = hide(TOKENS[:, 1:], jax.vmap(jax.random.fold_in, (None, 0))(hiding, jnp.arange(8)), 0.15, 256).chosen
    cost = -np.take_along_axis(np.asarray(jax.nn.log_softmax(LOGITS)), TOKENS[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(loss, cost[np.asarray(chosen)].mean(), rtol=1e-5)


def test_what_is_held_out_is_hidden_by_its_number():
    scored, numbers = np.ones((8, 2000), np.float32), np.arange(8)
    shown, counts = MaskedTokens().measured(forward, {}, {"tokens": TOKENS, "scored": scored, "number": numbers})
    assert set(shown) == {"loss", "accuracy"} and 0.13 < counts.mean() < 0.17
    other = {"tokens": TOKENS[::-1], "scored": scored, "number": numbers[::-1]}
    np.testing.assert_array_equal(MaskedTokens().measured(forward, {}, other).counts, counts[::-1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="share must lie between 0.001 and 1, got 0"):
        MaskedTokens(share=0)
    with pytest.raises(ValueError, match="mask must be a whole number of at least 1, got 0"):
        MaskedTokens(mask=0)
    with pytest.raises(ValueError, match="rng=None"):
        MaskedTokens()(forward, {}, {"tokens": TOKENS}, None)
    with pytest.raises(ValueError, match=r"the mask, number 300, among them, got shape .* --model.vocabulary 301"):
        MaskedTokens(mask=300)(forward, {}, {"tokens": TOKENS}, jax.random.key(0))
    with pytest.raises(ValueError, match="MaskedTokens reads tokens of an example, got one without tokens"):
        MaskedTokens()(forward, {}, {"inputs": TOKENS}, jax.random.key(0))
