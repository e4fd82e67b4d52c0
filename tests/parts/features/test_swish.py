"""x sigmoid(x), without a factor."""

import numpy as np

from jattn.part import Side
from jattn.parts.features.swish import Swish


def test_it_is_the_papers_map():
    vector = np.array([[[-100.0, -1.0, 0.0, 2.5]]], np.float32)
    found, scale = Swish().map({}, Side(vector, None, None, None, None, 1, {}), "key", None)
    np.testing.assert_allclose(found[0, 0], [0, -1 / (1 + np.e), 0, 2.5 / (1 + np.exp(-2.5))], rtol=1e-6, atol=1e-30)
    assert scale is None and not Swish.normalized
