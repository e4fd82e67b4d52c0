"""Images as rows of numbers of 0 to 1, padded to the context, with their labels."""

import numpy as np
import pytest

from jattn.training.sources.pixel_sequences import PixelSequences


def test_pixels_follow_row_by_row_between_0_and_1(package):
    source = PixelSequences()
    train, held_out = source.train(64, 0), source.held_out(70)
    assert (len(train), len(held_out)) == (32, 8)
    found = held_out[1]
    # sixteen shades, to a rounding of float32 of the images' range from -1 to 1
    np.testing.assert_allclose(found["inputs"][:64], package[9] / 16, atol=1e-7)
    assert found["valid"] == 64 and not found["inputs"][64:].any() and found["label"] == 9
    values = np.concatenate([train[n]["inputs"] for n in range(32)])
    assert (values.min(), values.max()) == (0, 1)
    for name, shape in source.outline(70).items():
        assert (shape.shape, shape.dtype) == (found[name].shape, found[name].dtype)
    np.testing.assert_array_equal(train[33]["inputs"], train[1]["inputs"])


def test_a_stride_keeps_a_grid(package):
    source = PixelSequences(stride=3)
    found = source.train(source.shortest, 0)[0]
    np.testing.assert_allclose(found["inputs"], package[0].reshape(8, 8)[::3, ::3].ravel() / 16, atol=1e-7)
    assert source.shortest == 9 and PixelSequences("mnist").shortest == 784
    with pytest.raises(ValueError, match="must hold the 9 pixels that are kept of an image, got 8; use --context 9"):
        source.train(8, 0)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="images must be 'digits' or 'mnist', got 'cifar'"):
        PixelSequences("cifar")
    with pytest.raises(ValueError, match="PixelSequences.stride must be a whole number of at least 1, got 0"):
        PixelSequences(stride=0)
