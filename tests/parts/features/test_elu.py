"""elu + 1: the paper's map, and the products that it makes."""

import numpy as np

from jattn.part import Side
from jattn.parts.features.elu import Elu


def test_it_is_the_papers_map():
    vector = np.array([[[-700.0, -1.0, 0.0, 2.5]]], np.float32)
    found, scale = Elu().map({}, Side(vector, None, None, None, None, 1, {}), "key", None)
    np.testing.assert_allclose(found[0, 0], [0, np.exp(-1), 1, 3.5], rtol=1e-6)
    assert scale is None
