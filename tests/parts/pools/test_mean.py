"""The mean is the mean, and its entropy the largest."""

import jax.numpy as jnp
import numpy as np

from jattn.part import Side
from jattn.parts.pools.mean import Mean


def test_all_tokens_weigh_alike():
    x, here = np.arange(12.0).reshape(4, 3), np.arange(4)
    found = Mean().apply({}, jnp.asarray(x), Side(x, here, here, None, jnp.arange(4) < 3, 3, {}), None, None)
    np.testing.assert_allclose(found.out, [x[:3].mean(0)], rtol=1e-6)
    np.testing.assert_allclose(found.weights, [[1 / 3, 1 / 3, 1 / 3, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.stats.entropy, np.log(3), rtol=1e-6)
