"""Gated attention against its equation, row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Side
from jattn.parts.pools.gated_attention import GatedAttention
from tests.support import float64  # noqa: F401


def test_weights_are_those_of_the_equation_written_out(float64):  # noqa: F811
    pool = GatedAttention(width=5, rows=3)
    params = pool.init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=4)).params
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, here = np.random.default_rng(0).normal(size=(7, 4)), np.arange(7)
    found = pool.apply(params, jnp.asarray(x), Side(x, here, here, None, None, 7, {}), None, None)
    for row in range(3):
        exp = []
        for token in x:
            feature, gate = np.tanh(params["feature"].T @ token), 1 / (1 + np.exp(-params["gate"].T @ token))
            exp.append(np.exp(params["row"][:, row] @ (feature * gate)))
        want = np.array(exp) / sum(exp)
        # float64, the same few operations
        np.testing.assert_allclose(found.weights[row], want, rtol=1e-12)
        np.testing.assert_allclose(found.out[row], want @ x, rtol=1e-12, atol=1e-14)


def test_by_default_one_row_of_128_features():
    params = GatedAttention().init(jax.random.key(0), Dims(1, 1, 1, 1, 1, model_width=4)).params
    assert {name: x.shape for name, x in params.items()} == {"feature": (4, 128), "gate": (4, 128), "row": (128, 1)}


@pytest.mark.parametrize("options", [{"width": 0}, {"rows": 0}])
def test_sizes_below_1_are_refused(options):
    with pytest.raises(ValueError, match=f"GatedAttention.{next(iter(options))} must be at least 1, got 0"):
        GatedAttention(**options)
