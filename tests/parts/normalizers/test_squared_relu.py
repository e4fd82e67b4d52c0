"""Squared ReLU over visible keys, written out."""

import jax
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.squared_relu import SquaredRelu
from tests.support import assert_tiled_equals_dense, float64, padded_layout, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend


def test_output_and_statistics_written_out():
    q, k, v = (jax.random.normal(jax.random.key(n), (6, 2, 4)) for n in range(3))
    found = attend(q, k, v, Attention(mask=Causal(), normalizer=SquaredRelu()))
    logits = np.einsum("thd,shd->hts", q, k) / 2
    weights = np.where(np.tril(np.ones((6, 6))), np.maximum(logits, 0) ** 2, 0) / np.arange(1, 7)[:, None]
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights, v), rtol=1e-5, atol=1e-6)
    mass = weights.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = weights / mass[..., None]
        entropy = np.where(mass > 0, -np.where(share > 0, share * np.log(share), 0).sum(-1), 0)
        np.testing.assert_allclose(found.stats.log_normalizer, np.log(mass).T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.stats.entropy, entropy.T, atol=1e-5)


def test_a_row_without_positive_logits_gives_nothing_and_still_sees():
    q = -np.ones((3, 1, 4), np.float32)
    found = attend(q, -q, -q, Attention(normalizer=SquaredRelu()))
    assert not np.asarray(found.out).any() and (np.asarray(found.stats.visible) == 3).all()
    assert (np.asarray(found.stats.max_logit) < 0).all()


def test_undivided_squares_are_the_divided_ones_times_what_a_row_sees(float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    q, k, v = (jax.random.normal(jax.random.key(n), (6, 2, 4)) for n in range(3))
    divided = attend(q, k, v, Attention(mask=Causal(), normalizer=SquaredRelu()))
    bare = Attention(mask=Causal(), normalizer=SquaredRelu(divisor="one"))
    found = attend(q, k, v, bare)
    np.testing.assert_allclose(found.out, divided.out * np.arange(1, 7)[:, None, None], rtol=1e-12)
    # shares of a row are the same
    np.testing.assert_allclose(found.stats.entropy, divided.stats.entropy, atol=1e-12)
    assert_tiled_equals_dense(bare, padded_layout())


def test_another_divisor_is_refused():
    with pytest.raises((ValueError, TypeError), match="divisor"):
        SquaredRelu(divisor="n")
