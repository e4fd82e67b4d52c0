"""Quarters of the largest entropy, and the ceiling of causal attention."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.entropy import attention_entropy
from jattn.mechanisms.entropy_bands import BANDS, causal_ceiling, entropy_bands
from jattn.parts.masks.causal import Causal


def test_edges_belong_to_the_upper_quarter():
    found = entropy_bands(jnp.array([[0.0, 0.99, 1.0], [2.0, 3.0, 4.0]]))
    assert found.tolist() == [[0, 0, 1], [2, 3, 3]] and len(BANDS) == 4
    assert entropy_bands(jnp.array([1.0, 9.0]), 8.0).tolist() == [0, 3]


def test_of_no_entropy_at_all_every_head_is_collapsed():
    assert entropy_bands(jnp.zeros((2, 3))).tolist() == [[0] * 3] * 2
    assert entropy_bands(jnp.zeros(2), 0.0).tolist() == [0, 0]


def test_what_is_no_number_is_in_no_band():
    assert entropy_bands(jnp.array([0.5, jnp.nan, 4.0])).tolist() == [0, len(BANDS), 3]


def test_no_head_and_no_largest_entropy_are_refused():
    with pytest.raises(ValueError, match=r"got none, shape \(2, 0\)"):
        entropy_bands(jnp.zeros((2, 0)))
    for wrong in (-1.0, jnp.nan):
        with pytest.raises(ValueError, match="The largest entropy is at least 0"):
            entropy_bands(jnp.ones(2), wrong)


def test_uniform_causal_attention_reaches_the_ceiling():
    q = jnp.zeros((37, 1, 4))
    np.testing.assert_allclose(attention_entropy(q, q, Attention(mask=Causal())).mean(), causal_ceiling(37), rtol=1e-6)
    # as published
    for tokens, want in ((128, 3.878), (256, 4.560), (512, 5.246)):
        assert round(causal_ceiling(tokens), 3) == want


def test_no_tokens_are_refused():
    with pytest.raises(ValueError, match="A context has at least 1 token, got 0"):
        causal_ceiling(0)
