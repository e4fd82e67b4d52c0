"""Images of a small data set prepared offline: which part of them is read, and what is refused."""

import io

import numpy as np
import pytest

from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.training.run import Run
from jattn.training.sources.image_dataset import ImageDataset

SIDE = 8


def picture(number):
    """A file of pixels that are 20 times the number on the left, and one more on the right half."""
    from PIL import Image

    pixels = np.full((10 + number, 12, 3), 20 * number, np.uint8)
    pixels[:, 6:] += 1
    Image.fromarray(pixels).save(file := io.BytesIO(), "png")
    file.seek(0)
    return file


def pictures(tfds):
    kinds = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=4)}
    rows = {"train": range(6), "validation": range(6, 9)}
    made = {split: [{"image": picture(n), "label": n % 4} for n in numbers] for split, numbers in rows.items()}
    return kinds, made


def written(tfds):
    return {"image": tfds.features.Text(), "label": tfds.features.Scalar(np.int32)}, {
        split: [{"image": "x", "label": 1}] for split in ("train", "test")
    }


def source(prepare, make=pictures, **fields):
    return ImageDataset(str(prepare(make.__name__, make)), **({"side": SIDE, "classes": 4} | fields))


def test_held_out_images_are_the_middle_of_the_other_split(prepare):
    given = source(prepare)
    held_out = given.held_out(1)
    assert len(held_out) == 3 and [int(held_out[n]["label"]) for n in range(3)] == [2, 3, 0]
    for n in range(3):
        # one in 255 is told apart, and the halves meet in the middle
        left, right = (held_out[n]["inputs"][:, at] for at in (0, -1))
        np.testing.assert_allclose(left, 20 * (6 + n) / 127.5 - 1, atol=1e-6)
        np.testing.assert_allclose(right, (20 * (6 + n) + 1) / 127.5 - 1, atol=1e-6)


def test_each_epoch_shows_another_part_and_the_same_to_the_same_seed(prepare):
    train, again, other = (source(prepare).train(1, seed) for seed in (3, 3, 4))
    assert len(train) == 6
    shown = [train[6 * epoch + 2]["inputs"] for epoch in range(8)]
    assert len({each.tobytes() for each in shown}) > 1
    assert {int(train[6 * epoch + 2]["label"]) for epoch in range(8)} == {2}
    np.testing.assert_array_equal(train[7]["inputs"], again[7]["inputs"])
    assert any((train[n]["inputs"] != other[n]["inputs"]).any() for n in range(6))
    # some are mirrored: the right half is the darker one
    assert {bool((each[:, 0] > each[:, -1]).any()) for each in shown} == {True, False}
    middle = source(prepare, trained_on="middle").train(1, 3)
    np.testing.assert_array_equal(middle[2]["inputs"], middle[8]["inputs"])


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_are_as_the_outline_says(prepare, channels):
    given = source(prepare, channels=channels)
    example = given.train(1, 0)[0]
    for name, shape in given.outline(1).items():
        assert (shape.shape, shape.dtype) == (example[name].shape, example[name].dtype)
    assert given.shards() == 1 and (given.unit, given.units(128)) == ("image", 1)
    with pytest.raises(ValueError, match="must hold the source's 4 classes, got 3"):
        Run(model=VisionTransformerConfig(classes=3), source=given)


@pytest.mark.parametrize(
    ("make", "fields", "words"),
    [
        (pictures, {"image": "label"}, "must name an image of whole numbers from 0 to 255, got 'label'; .* has image"),
        (pictures, {"label": "digit"}, "must name a class, got 'digit'; the data set has label"),
        (written, {}, "must name an image of .*, got 'image'; the data set has none"),
        (pictures, {"classes": 3}, "must be at least those of the data set, got 3 for 4; use --source.classes 4"),
        (pictures, {"held_out_split": "train[2:]"}, "ImageDataset.held_out_split must share no"),
        (pictures, {"train_split": "train[:0]"}, "needs an image in each split, got none"),
    ],
)
def test_what_a_data_set_lacks_is_refused(prepare, make, fields, words):
    with pytest.raises(ValueError, match=words):
        source(prepare, make, **fields).train(1, 0)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"dataset": None}, TypeError, "ImageDataset.dataset must be text, got None"),
        ({"side": 0}, ValueError, "ImageDataset.side must be a whole number of at least 1"),
        ({"channels": 2}, ValueError, "ImageDataset.channels must be 1 or 3, got 2"),
        ({"trained_on": "left"}, ValueError, "trained_on must be 'random' or 'middle'"),
    ],
)
def test_fields_out_of_range_are_refused(fields, error, words):
    with pytest.raises(error, match=words):
        ImageDataset(**fields)


def test_a_data_set_that_is_not_there_names_the_command_that_prepares_it(tmp_path):
    words = "ImageDataset.dataset must name what is prepared .*got 'imagenet2012'.*download_and_prepare"
    with pytest.raises(FileNotFoundError, match=words):
        ImageDataset(data_dir=str(tmp_path)).train(1, 0)
