"""The product over leading axes, in the dtypes it promises."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.product import plus, product


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0, 3)], ids=str)
def test_leading_axes_stay(lead):
    x = np.random.default_rng(0).normal(size=(*lead, 4)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(product(jnp.asarray(x), jnp.asarray(kernel)), x @ kernel, rtol=1e-5, atol=1e-6)


def test_computes_in_the_dtype_of_its_input_and_sums_in_the_one_asked_for():
    x, kernel = jnp.ones((2, 300), jnp.bfloat16), jnp.ones((300, 1))
    assert product(x, kernel).dtype == jnp.bfloat16
    found = product(x * 1.0, kernel * 1.001, jnp.float32)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 300)  # 1.001 is 1 in bfloat16, and 300 needs more than its 8 bits less


def test_a_bias_is_added_to_each_row_in_its_dtype():
    x, bias = jnp.arange(6.0).reshape(2, 3), jnp.array([1.0, -1.0, 0.5])
    np.testing.assert_array_equal(plus(x, bias), np.asarray(x) + np.asarray(bias))
    assert plus(x.astype(jnp.bfloat16), bias).dtype == jnp.bfloat16
