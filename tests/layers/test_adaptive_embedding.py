"""The adaptive embedding against tables that are widened first, and a softmax over all that is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.adaptive_embedding import AdaptiveEmbedding

VOCABULARY, WIDTH, CUTOFFS, FACTOR = 23, 12, (5, 14), 2
EDGES = (0, *CUTOFFS, VOCABULARY)
TOKENS = jnp.arange(VOCABULARY)[::-1].reshape(1, VOCABULARY)
X = jax.random.normal(jax.random.key(0), (2, 3, WIDTH), jnp.float32)


def made(scale=None):
    return AdaptiveEmbedding(VOCABULARY, WIDTH, CUTOFFS, FACTOR, scale, rngs=nnx.Rngs(0))


def arrays(layer):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(nnx.state(layer)))


def widened(own):
    """One table of the whole width."""
    return jnp.concatenate([own["tables"][band] @ own["projections"][band] for band in range(3)])


def log_probabilities(own, x):
    """Every token's log-probability, its band's and its own within the band, one token after another."""
    first = jnp.concatenate([x @ own["tables"][0].T, x @ own["bands"]], -1)
    first = first - jnp.log(jnp.exp(first).sum(-1, keepdims=True))
    found = []
    for token in range(VOCABULARY):
        band = sum(token >= edge for edge in CUTOFFS)
        if band == 0:
            found.append(first[..., token])
            continue
        among = x @ own["projections"][band].T @ own["tables"][band].T
        own_share = among[..., token - EDGES[band]] - jnp.log(jnp.exp(among).sum(-1))
        found.append(first[..., CUTOFFS[0] + band - 1] + own_share)
    return jnp.stack(found, -1)


def test_widths_fall_and_only_the_sizes_count():
    own = arrays(made())
    assert [own["tables"][band].shape for band in range(3)] == [(5, 12), (9, 6), (9, 3)]
    assert [own["projections"][band].shape for band in range(3)] == [(12, 12), (6, 12), (3, 12)]
    assert own["bands"].shape == (12, 2) and len(jax.tree.leaves(own)) == 7


@pytest.mark.parametrize("scale, times", [(None, 12**0.5), (1.0, 1.0)])
def test_a_token_is_its_widened_row(scale, times):
    layer = made(scale)
    want = times * np.asarray(widened(arrays(layer)))[np.asarray(TOKENS)]
    # a sum of 12 products in float32
    np.testing.assert_allclose(layer(TOKENS, jnp.float32), want, rtol=1e-5, atol=2e-6)
    assert layer(TOKENS, jnp.bfloat16).dtype == jnp.bfloat16


def test_logits_are_log_probabilities():
    layer = made()
    got = layer.logits(X)
    assert got.shape == (2, 3, VOCABULARY) and got.dtype == jnp.float32
    with jax.enable_x64(True):
        want = jax.jit(log_probabilities)(arrays(layer), np.asarray(X, np.float64))
    # sums of 12 products and of 9 exponentials in float32
    np.testing.assert_allclose(got, want, atol=4e-6)
    np.testing.assert_allclose(np.exp(got).sum(-1), 1, atol=1e-6)
    # what an objective makes of them is what they are
    np.testing.assert_allclose(jax.nn.log_softmax(got), got, atol=1e-6)
    assert layer.logits(X.astype(jnp.bfloat16)).dtype == jnp.float32


def test_every_gradient_is_the_dense_one():
    layer = made()
    graphdef, state = nnx.split(layer)
    weights = jax.random.normal(jax.random.key(1), (2, 3, VOCABULARY))
    seen = jax.random.normal(jax.random.key(2), (1, VOCABULARY, WIDTH))

    def ours(state, x):
        layer = nnx.merge(graphdef, state)
        return (weights * layer.logits(x)).sum() + (seen * layer(TOKENS, jnp.float32)).sum()

    def dense(own, x):
        rows = WIDTH**0.5 * widened(own)[TOKENS]
        return (weights * log_probabilities(own, x)).sum() + (seen * rows).sum()

    got, at_x = jax.jit(jax.grad(ours, (0, 1)))(state, X)
    with jax.enable_x64(True):
        want, want_x = jax.jit(jax.grad(dense, (0, 1)))(arrays(layer), np.asarray(X, np.float64))
    for a, b in zip(jax.tree.leaves(nnx.to_pure_dict(got)), jax.tree.leaves(want), strict=True):
        # sums over 6 rows of numbers of this size
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())
    np.testing.assert_allclose(at_x, want_x, atol=1e-5 * np.abs(want_x).max())


def test_fresh_arrays():
    layer = AdaptiveEmbedding(9000, 64, (3000, 6000), 4, rngs=nnx.Rngs(0))
    for table, width in zip(layer.tables, (64, 16, 4), strict=True):
        # 12,000 draws or more: rows of length one on average
        assert table.shape == (3000, width) and abs(float((table[...] ** 2).sum(-1).mean()) - 1) < 0.05
    for projection in layer.projections:
        inputs, outputs = projection.shape
        assert abs(projection[...]).max() <= (6 / (inputs + outputs)) ** 0.5


@pytest.mark.parametrize(
    "cutoffs, factor, words",
    [
        ((), 4, "cutoffs must rise between 0 and the vocabulary, 23, got .*'tied'"),
        ((14, 5), 4, "cutoffs must rise"),
        ((5, 23), 4, "cutoffs must rise"),
        ((0,), 4, "cutoffs must rise"),
        ((5, 14), 0, "factor must be at least 1"),
        ((5, 14), 4, "leave the rarest tokens a vector, got 4 for a width of 12 and 3 bands"),
    ],
)
def test_bands_without_a_token_or_a_number_are_refused(cutoffs, factor, words):
    with pytest.raises(ValueError, match=words):
        AdaptiveEmbedding(VOCABULARY, WIDTH, cutoffs, factor, rngs=nnx.Rngs(0))
