"""Tests that documents become one row of tokens, and which features can be read without TensorFlow."""

import sys

import numpy as np
import pytest

from jattn.training.data import documents, prepared


def row(values):
    return np.asarray(values, np.int32)


def texts(tfds):
    return {"a": tfds.features.Text()}, {
        "train": [{"a": "h\u00e9"}, {"a": ""}, {"a": b"\xff\x00"}],
        "test": [{"a": "t"}],
    }


def optional(tfds):
    return {"a": tfds.features.Text(optional=True)}, {"train": [{"a": "x"}, {"a": None}]}


def scalars(tfds):
    return {"a": np.str_}, {"train": [{"a": "one"}, {"a": "two"}]}


def any_length(tfds):
    return {"a": tfds.features.Tensor(shape=(None,), dtype=np.int32)}, {
        "train": [{"a": row(each)} for each in ([], [1, 2, 3], [4], [])]
    }


def sequences(tfds):
    return {"a": tfds.features.Sequence(np.int64)}, {"train": [{"a": each} for each in ([], [1, 2, 3], [4])]}


def zipped(tfds):
    kind = tfds.features.Tensor(shape=(None,), dtype=np.uint16, encoding="zlib")
    return {"a": kind}, {"train": [{"a": np.arange(each, dtype=np.uint16)} for each in (3, 0, 2)]}


def fixed(tfds):
    return {"a": tfds.features.Tensor(shape=(3,), dtype=np.uint8)}, {
        "train": [{"a": np.full(3, each, np.uint8)} for each in range(5)]
    }


def negative(tfds):
    return {"a": tfds.features.Tensor(shape=(None,), dtype=np.int32)}, {"train": [{"a": row([1])}, {"a": row([2, -1])}]}


def others(tfds):
    kinds = {
        "label": tfds.features.ClassLabel(num_classes=2),
        "table": tfds.features.Tensor(shape=(2, 2), dtype=np.int32),
        "real": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        "pair": tfds.features.Translation(["en", "fr"]),
        "words": tfds.features.Sequence(tfds.features.Text()),
    }
    made = {"label": 1, "table": row([[1, 2], [3, 4]]), "real": np.zeros(2, np.float32), "pair": {"en": "a", "fr": "b"}}
    return kinds, {"train": [made | {"words": ["a", "b"]}]}


def beside(tfds):
    kinds, rows = others(tfds)
    return kinds | {"a": tfds.features.Text()}, {"train": [rows["train"][0] | {"a": "x"}]}


def two(tfds):
    return {"a": tfds.features.Text(), "b": tfds.features.Text()}, {"train": [{"a": "a", "b": "b"}]}


@pytest.mark.parametrize(
    "make, whole",
    [
        (texts, list("h\u00e9\n\n\n\n".encode() + b"\xff\x00\n")),
        (optional, list(b"x\n\n\n")),
        (scalars, list(b"one\n\ntwo\n")),
        (beside, list(b"x\n")),
        (any_length, [1, 2, 3, 4]),
        (sequences, [1, 2, 3, 4]),
        (zipped, [0, 1, 2, 0, 1]),
        (fixed, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]),
    ],
)
def test_documents_follow_one_another(make, whole, prepare):
    found = documents.stream(prepared.opened(prepare(make.__name__, make)), "train", None, 256)
    assert len(found) == len(whole) and found[:].tolist() == whole
    assert all(found[start : start + 2].tolist() == whole[start : start + 2] for start in range(len(whole)))
    assert "tensorflow" not in sys.modules


def many(tfds):
    return {"a": tfds.features.Text()}, {"train": [{"a": "x" * (each % 7)} for each in range(100)]}


@pytest.mark.parametrize("most, read_bytes", [(1024, 1 << 20), (3, 1 << 20), (1024, 40)])
def test_lengths_are_learned_whatever_is_read_together(most, read_bytes, prepare, monkeypatch):
    monkeypatch.setattr(documents, "READ_MOST", most)
    monkeypatch.setattr(documents, "READ_BYTES", read_bytes)
    found = documents.stream(prepared.opened(prepare("many", many)), "train", None, 256)
    assert found[:].tobytes() == b"\n\n".join(b"x" * (each % 7) for each in range(100)) + b"\n"


def test_rows_of_fixed_length_are_not_read_to_learn_it(prepare, monkeypatch):
    asked = []
    get = documents.Documents.__getitem__
    monkeypatch.setattr(documents.Documents, "__getitem__", lambda self, n: asked.append(n) or get(self, n))
    documents.stream(prepared.opened(prepare("fixed", fixed)), "train", None, 256)
    assert asked == [0]


@pytest.mark.parametrize(
    "make, vocabulary, words",
    [
        (any_length, 4, "got 4 in document 2 of train for a vocabulary of 4; give --source.vocabulary"),
        (negative, 256, "got -1 in document 1"),
        (texts, 128, "got 195 in document 0"),
    ],
)
def test_tokens_that_the_vocabulary_lacks_are_refused(make, vocabulary, words, prepare):
    with pytest.raises(ValueError, match=words):
        documents.stream(prepared.opened(prepare(make.__name__, make)), "train", None, vocabulary)


def test_in_rows_of_fixed_length_they_are_refused_when_read(prepare):
    found = documents.stream(prepared.opened(prepare("fixed", fixed)), "train", None, 4)
    assert found[:12].max() == 3
    with pytest.raises(ValueError, match="got 4 in document 4"):
        found[12:]


@pytest.mark.parametrize(
    "make, feature, words",
    [
        (two, None, "got 2 of a, b; name one with --source.feature"),
        (two, "c", "one of a, b, got 'c'"),
        (others, None, "got 0 of "),
        (others, "label", "got 'label', which is ClassLabel of shape"),
        (others, "table", r"which is Tensor of shape \(2, 2\)"),
        (others, "real", "got 'real'"),
        (others, "pair", "which is Translation"),
        (others, "words", "which is Sequence"),
    ],
)
def test_other_features_are_refused(make, feature, words, prepare):
    features = prepared.opened(prepare(make.__name__, make)).info.features
    with pytest.raises(ValueError, match=words):
        documents.choose(features, feature)


def test_text_is_chosen_before_others_and_an_image_is_refused():
    import tensorflow_datasets as tfds

    kinds = {"name": tfds.features.Text(), "text": tfds.features.Text(), "picture": tfds.features.Image()}
    features = tfds.features.FeaturesDict(kinds)
    assert documents.choose(features, None) == "text" and documents.choose(features, "name") == "name"
    with pytest.raises(
        ValueError, match="need no TensorFlow, got 'picture', which is Image; prepare it .* plain Tensor"
    ):
        documents.choose(features, "picture")


def test_documents_are_kept_up_to_a_size(monkeypatch):
    monkeypatch.setattr(documents, "CACHE_BYTES", 30)
    decoded = []
    held = documents.Documents(9, lambda number: decoded.append(number) or np.full(10 + number, number, np.uint8))
    for number in (0, 1, 0, 2, 0, 1, 8, 8):
        assert held[number][0] == number
        assert sum(each.nbytes for each in held.kept.values()) == held.bytes <= 30
    # 2 drove out 1, which was asked for longest ago; 1 drove out 2; 8 drove out 0
    assert decoded == [0, 1, 2, 1, 8]


def test_one_document_larger_than_the_cache_is_kept(monkeypatch):
    monkeypatch.setattr(documents, "CACHE_BYTES", 5)
    decoded = []
    held = documents.Documents(2, lambda number: decoded.append(number) or np.zeros(10, np.uint8))
    assert [len(held[number]) for number in (0, 0, 1, 1)] == [10] * 4 and decoded == [0, 1]


def test_records_that_cannot_be_read_are_refused(prepare, tmp_path):
    import shutil

    place = tmp_path / "copy"
    shutil.copytree(prepare("texts", texts), place)
    (shard,) = place.glob("*train*")
    shard.unlink()
    with pytest.raises(ValueError, match="as tensorflow-datasets writes it, got .*; prepare it again"):
        documents.stream(prepared.opened(place), "train", None, 256)
