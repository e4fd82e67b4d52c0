"""Projections into grouped heads and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Flow
from jattn.layers.heads.grouped import Grouped
from jattn.mechanisms import Layout

DIMS = Grouped(2).dims(16, 4, None)
OWN = Grouped(2).own(Grouped(2).init(jax.random.key(0), DIMS))
FLOW = Flow(Layout(head=(np.arange(4), 4, 2)))
X = jax.random.normal(jax.random.key(1), (5, 16))


def test_each_head_reads_its_own_columns():
    split = Grouped(2).split(OWN, X, FLOW)
    assert split.query.shape == (5, 4, 4) and split.key.shape == split.value.shape == (5, 2, 4)
    # sums of 16 products in float32
    np.testing.assert_allclose(split.query[:, 2], X @ OWN["query"][:, 8:12], atol=1e-5)
    np.testing.assert_allclose(split.key[:, 1], X @ OWN["key"][:, 4:], atol=1e-5)


def test_keys_and_values_come_from_memory():
    memory = jnp.ones((3, 16))
    split = Grouped(2).split(OWN, X, FLOW._replace(memory=memory))
    np.testing.assert_array_equal(split.value, Grouped(2).split(OWN, memory, FLOW).value)
    np.testing.assert_array_equal(split.query, Grouped(2).split(OWN, X, FLOW).query)


def test_a_fresh_output_is_zero_and_then_sums_over_heads():
    out = jax.random.normal(jax.random.key(2), (5, 4, 4))
    split = Grouped(2).split(OWN, X, FLOW)
    y, terms = Grouped(2).merge(OWN, out, split, FLOW)
    assert not y.any() and terms == {}
    kernel = jax.random.normal(jax.random.key(3), (16, 16))
    y, _ = Grouped(2).merge(OWN | {"output": kernel}, out, split, FLOW)
    np.testing.assert_allclose(y, jnp.einsum("the,hem->tm", out, kernel.reshape(4, 4, 16)), atol=1e-5)


def test_fresh_kernels_keep_the_variance():
    dims = Grouped().dims(256, 4, None)
    query = Grouped().init(jax.random.key(0), dims).params["query"]
    # 65536 draws: the deviation is known to 1/sqrt(2 * 65536) = 0.3 %
    np.testing.assert_allclose(query.std(), 1 / 16, rtol=0.015)
    assert abs(query).max() < 2.5 / 16


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="key_heads must be at least 1, got 0"):
        Grouped(0)
    with pytest.raises(ValueError, match="multiple of the heads, got width 10 for 4 heads"):
        Grouped().dims(10, 4, None)
    with pytest.raises(ValueError, match="multiple of Grouped.key_heads, got 4 and 3"):
        Grouped(3).dims(16, 4, None)
