"""The part of an image that is drawn or lies in the middle, against pixels counted by hand."""

import sys

import numpy as np
import pytest

from jattn.training.data import images
from jattn.training.data.images import Box


def test_the_middle_is_224_of_256_pixels():
    assert images.middle(256, 512) == Box(16, 144, 240, 368)
    assert images.middle(7, 3, 1) == Box(2, 0, 5, 3)


@pytest.mark.parametrize(("width", "height"), [(100, 60), (30, 60)])
def test_a_drawn_part_lies_inside_and_has_the_papers_area_and_ratio(width, height):
    random = np.random.default_rng(0)
    boxes = [images.drawn(width, height, random) for _ in range(500)]
    areas, ratios = [], []
    for left, upper, right, lower in boxes:
        assert 0 <= left < right <= width and 0 <= upper < lower <= height
        areas.append((right - left) * (lower - upper) / width / height)
        ratios.append((right - left) / (lower - upper))
    assert 0.08 <= min(areas) < 0.1 and max(areas) <= 1
    assert 3 / 4 <= min(ratios) < 0.8 and 1.25 < max(ratios) <= 4 / 3


def test_of_an_image_too_narrow_for_every_draw_the_middle_is_cut():
    # a twentieth of the area at most
    assert images.drawn(10, 200, np.random.default_rng(0)) == Box(0, 95, 10, 105)


def test_pixels_of_a_cut_are_between_minus_one_and_one():
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6, 1) * 10
    whole = images.cut(pixels[:, :4], Box(0, 0, 4, 4), 4, 1)
    np.testing.assert_allclose(whole, pixels[:, :4] / 127.5 - 1, atol=1e-6)
    # two by two pixels together are one
    half = images.cut(pixels, Box(2, 0, 6, 4), 2, 3)
    wanted = pixels[:, 2:].reshape(2, 2, 2, 2).mean((1, 3))
    # a bilinear filter also reads the next pixels, whose values lie on one plane; whole numbers are rounded
    np.testing.assert_allclose(half[1, 0], wanted[1, 0] / 127.5 - 1, atol=20 / 127.5)
    assert half.shape == (2, 2, 3) and (half == half[..., :1]).all()


def test_without_pillow_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ModuleNotFoundError, match="Images need Pillow .* pip install pillow"):
        images.needed()
