"""Retention's factors are the paper's, by a head's true number."""

import numpy as np

from jattn.part import Place
from jattn.parts.decays.retention import Retention, factors


def test_factors_are_the_papers():
    # gamma = 1 - 2^(-5 - h), as the paper prints them for h = 0 to 3
    np.testing.assert_allclose(factors(4), [31 / 32, 63 / 64, 127 / 128, 255 / 256], rtol=1e-15)


def test_heads_of_a_larger_layer_keep_their_own():
    found = Retention().log({}, None, Place(np.array([2, 3]), 4, 4))
    np.testing.assert_allclose(np.exp(found), factors(4)[2:], rtol=1e-15)
