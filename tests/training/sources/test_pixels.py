"""Images as rows of pixels behind a blank, cropped by the context, refused where it is too long."""

import numpy as np
import pytest

from jattn.training.sources.pixels import Pixels


def test_pixels_follow_a_blank_row_by_row_in_gray(package):
    source = Pixels()
    train, held_out = source.train(64, 0), source.held_out(64)
    assert len(train) == 32 and len(held_out) == 8
    tokens = held_out[1]["tokens"]
    assert tokens[0] == 0 and tokens.dtype == np.int32
    # sixteen shades are spread over 256
    np.testing.assert_array_equal(tokens[1:], np.rint(package[9] * 255 / 16))
    assert train[0]["tokens"].max() == 255 and train[0]["scored"].sum() == 64
    for name, shape in source.outline(64).items():
        assert (shape.shape, shape.dtype) == (train[0][name].shape, train[0][name].dtype)
    # on and on over epochs
    np.testing.assert_array_equal(train[33]["tokens"], train[1]["tokens"])


def test_a_stride_keeps_a_grid_and_a_context_its_beginning(package):
    grid = package[0].reshape(8, 8)[::3, ::3].ravel()
    found = Pixels(stride=3).train(5, 0)[0]
    np.testing.assert_array_equal(found["tokens"], np.rint([0, *grid[:5] * 255 / 16]))
    assert len(found["scored"]) == 5


def test_a_context_longer_than_an_image_is_refused(package):
    with pytest.raises(ValueError, match="at most the 9 pixels that are kept of an image, got 10; use --context 9"):
        Pixels(stride=3).train(10, 0)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="images must be 'digits' or 'mnist', got 'cifar'"):
        Pixels("cifar")
    with pytest.raises(ValueError, match="Pixels.stride must be"):
        Pixels(stride=0)
