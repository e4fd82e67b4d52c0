"""Texts and rows with their classes, padded, cut or refused."""

import numpy as np
import pytest

from jattn.training.data import labeled, prepared
from jattn.training.data.labeled import Labeled, Reading


def reviews(tfds):
    kinds = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2), "other": np.int64}
    return kinds, {
        "train": [{"text": text, "label": n % 2, "other": 9} for n, text in enumerate(("abc", "", "\u00e9"))]
    }


def rows(tfds):
    kinds = {"a": tfds.features.Tensor(shape=(None,), dtype=np.int16), "label": tfds.features.ClassLabel(num_classes=3)}
    return kinds, {"train": [{"a": np.arange(n, dtype=np.int16), "label": n} for n in range(3)]}


def read(prepare, make, feature, vocabulary=256, context=4, longer="refused", divisor=None):
    builder = prepared.opened(prepare(make.__name__, make))
    return Labeled(builder, "train", Reading(feature, "label", vocabulary, context, longer, divisor))


def test_bytes_of_texts_and_numbers_of_rows_are_tokens(prepare):
    found = read(prepare, reviews, "text")
    assert len(found) == 3
    whole = [(found[n]["inputs"].tolist(), int(found[n]["valid"]), int(found[n]["label"])) for n in (0, 1, 2, 3)]
    padded = [97, 98, 99, 0]
    assert whole == [(padded, 3, 0), ([0] * 4, 0, 1), ([0xC3, 0xA9, 0, 0], 2, 0), (padded, 3, 0)]
    found = read(prepare, rows, "a", vocabulary=2)
    assert [found[n]["inputs"].tolist() for n in range(3)] == [[0] * 4, [0] * 4, [0, 1, 0, 0]]
    for name, shape in labeled.outline(4).items():
        assert (shape.shape, shape.dtype) == (found[0][name].shape, found[0][name].dtype)


def test_rows_may_be_real_numbers_of_which_no_vocabulary_is_asked(prepare):
    found = read(prepare, rows, "a", vocabulary=1, divisor=4)[2]
    assert found["inputs"].tolist() == [0, 0.25, 0, 0] and found["valid"] == 2
    shape = labeled.outline(4, np.float32)["inputs"]
    assert (shape.shape, shape.dtype) == (found["inputs"].shape, found["inputs"].dtype)


def test_what_is_longer_is_refused_or_cut(prepare):
    words = (
        "A context must hold each example, got 2 for the 3 tokens of example 0 of train; use --context 3 or more, or"
    )
    with pytest.raises(ValueError, match=words):
        read(prepare, reviews, "text", context=2)[3]
    found = read(prepare, reviews, "text", context=2, longer="cut")[0]
    assert found["inputs"].tolist() == [97, 98] and found["valid"] == 2


def test_tokens_that_the_vocabulary_lacks_are_refused(prepare):
    words = "LabeledDataset.vocabulary must hold every token, got 1 in example 2 of train for a vocabulary of 1"
    with pytest.raises(ValueError, match=words):
        read(prepare, rows, "a", vocabulary=1)[2]
