"""Keys by layer."""

import jax
import numpy as np

from jattn.layers.flow import for_layer
from jattn.part import Rng


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_no_key_no_noise():
    assert for_layer(None, 3) is None


def test_layers_differ_and_the_models_key_does_not():
    key = jax.random.key(0)
    rng = Rng(key, key, jax.random.split(key, 2))
    one, two = for_layer(rng, 0), for_layer(rng, 1)
    assert data(one.step) == data(two.step) == data(key)
    assert data(one.call) != data(two.call) and data(one.example[0]) != data(two.example[0])
    assert data(one.example[0]) != data(one.example[1])
    assert data(for_layer(key, 1)) == data(two.call)
