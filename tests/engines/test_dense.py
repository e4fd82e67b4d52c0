"""The oracle itself: closed forms, ties and thresholds; the contracts hold its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense
from jattn.mechanisms.attention import Attention
from jattn.part import part
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.softmax import Softmax
from tests.support import attended, float64, make, readings  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def test_output_written_out_with_grouped_heads():
    made, buffers = make(Attention(mask=Causal()), tokens=7, keys=9, heads=(4, 2, 1))
    found = attended(dense, Attention(mask=Causal()), made, buffers)
    q, k, v = (np.asarray(x) for x in made[:3])
    for h in range(4):
        logits = q[:, h] @ k[:, h // 2].T / np.sqrt(8)
        weights = np.exp(logits) * np.tril(np.ones((7, 9)))
        weights /= weights.sum(1, keepdims=True)
        np.testing.assert_allclose(found.out[:, h], weights @ v[:, 0], rtol=1e-12)
        entropy = -(weights * np.log(np.where(weights > 0, weights, 1))).sum(1)
        np.testing.assert_allclose(found.stats.entropy[:, h], entropy, atol=1e-12)


@part
class Far(Softmax):
    """Softmax as a threshold, which lies the log of the number of keys above the largest logit."""

    kind = "threshold"

    def begin(self, own, top, tile):
        return top


def test_a_threshold_far_from_where_its_search_begins_and_its_derivatives_to_the_third():
    made, buffers = make(Attention(), tokens=1, keys=53, heads=(1, 1, 1))

    @functools.partial(jax.jit, static_argnums=0)
    def orders(normalizer, scale):
        def out(scale):
            query = scale * made.query
            return attended(dense, Attention(normalizer=normalizer), made._replace(query=query), buffers).out.sum()

        return out(scale), jax.grad(out)(scale), jax.grad(jax.jacfwd(jax.grad(out)))(scale)

    np.testing.assert_allclose(orders(Far(), 0.1), orders(Softmax(), 0.1), rtol=1e-10)


def test_ties_share_the_gradient_of_the_largest_logit():
    made, buffers = make(Attention(), tokens=1, keys=4, heads=(1, 1, 1))
    key = jnp.stack([made.key[0]] * 3 + [made.key[0] - 10 * made.query[0]])

    def largest(key):
        return attended(dense, Attention(scale=1.0), made._replace(key=key), buffers).stats.max_logit.sum()

    grad = jax.grad(largest)(key)
    np.testing.assert_allclose(grad[:, 0], [made.query[0, 0] / 3] * 3 + [0 * made.query[0, 0]], atol=1e-12)
