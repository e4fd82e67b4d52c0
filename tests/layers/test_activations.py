"""Activations by name: what they give, and that an unknown one is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.activations import ACTIVATIONS, check_activation


def test_values_by_hand():
    x = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(ACTIVATIONS["squared_relu"](x), [0, 0, 9])
    np.testing.assert_array_equal(ACTIVATIONS["identity"](x), x)
    np.testing.assert_allclose(ACTIVATIONS["silu"](x), np.asarray(x) / (1 + np.exp(-np.asarray(x))), rtol=1e-6)


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="An activation must be one of squared_relu, .*, got 'swish'"):
        check_activation("swish")
