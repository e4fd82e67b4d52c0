"""The forward pass: counts by mask alone, ties, and thresholds that many keys share."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import attended, float64, make, padded_layout, small_tiles  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def test_visible_counts_pairs_across_tiles(monkeypatch):
    small_tiles(monkeypatch)
    made, buffers = make(Attention(mask=Causal()))
    layout = padded_layout()
    found = attended(tiled, Attention(mask=Causal()), made, buffers, layout).stats.visible
    valid, (alone, segments) = np.asarray(layout.valid), (np.asarray(x) for x in layout.segments)
    pairs = np.tril(alone[:, None] == segments) & valid[:, None] & valid[None]
    np.testing.assert_array_equal(found, np.repeat(pairs.sum(1)[:, None], 4, 1))


def test_a_threshold_shared_by_all_keys_is_found(monkeypatch):
    small_tiles(monkeypatch)
    # equal logits: every one of 53 keys gets 1/53, and Newton steps of the first key alone would take 53 sweeps
    zero = jnp.zeros((53, 1, 8))
    made, buffers = make(Attention(), heads=(1, 1, 1))
    found = attended(tiled, Attention(normalizer=Sparsemax()), made._replace(query=zero, key=zero), buffers)
    np.testing.assert_allclose(found.out, np.broadcast_to(made.value.mean(0), (53, 1, 5)), atol=1e-12)
    np.testing.assert_allclose(found.stats.entropy, np.log(53), rtol=1e-12)


def test_a_maximum_in_any_tile_is_the_maximum(monkeypatch):
    small_tiles(monkeypatch)
    made, buffers = make(Attention(scale=1.0), heads=(1, 1, 1))
    logits = np.einsum("thd,shd->ths", made.query, made.key)
    found = attended(tiled, Attention(scale=1.0), made, buffers)
    np.testing.assert_allclose(found.stats.max_logit[:, 0], logits.max(-1)[:, 0], rtol=1e-12)
