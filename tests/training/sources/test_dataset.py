"""Tests that a prepared data set trains as the text that it holds would, and what is refused."""

import json
import pickle

import numpy as np
import pytest

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.training import evaluate, loop
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.dataset import Dataset
from jattn.training.sources.shakespeare import Shakespeare


@pytest.fixture
def own(shakespeare_folder):
    return Dataset(data_dir=str(shakespeare_folder))


def test_windows_are_those_of_the_embedded_works(own):
    embedded = Shakespeare()
    train, held = own.train(128, 3), own.held_out(128)
    other, other_held = embedded.train(128, 3), embedded.held_out(128)
    assert (len(train), len(held)) == (len(other), len(other_held))
    random = np.random.default_rng(0)
    # two epochs, and both ends
    for number in (0, len(train) - 1, *random.integers(2 * len(train), size=300).tolist()):
        np.testing.assert_array_equal(train[number]["tokens"], other[number]["tokens"])
    for number in (0, len(held) - 1, *random.integers(len(held), size=300).tolist()):
        for name, values in other_held[number].items():
            np.testing.assert_array_equal(held[number][name], values)


def test_a_run_reaches_the_losses_of_the_embedded_works_bit_for_bit(own, tmp_path, monkeypatch):
    # some held-out windows are enough
    monkeypatch.setattr(evaluate, "MOST_TOKENS", 1 << 12)
    rows = []
    for name, source in {"embedded": Shakespeare(), "prepared": own}.items():
        model = DecoderConfig(width=8, depth=1)
        loop.fit(Run(model=model, source=source, optimizer=AdamW(), steps=3, batch=1, context=128), tmp_path / name)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        rows.append([{**json.loads(line), "tokens_per_second": 0} for line in lines])
    assert len(rows[0]) == 3 and rows[0] == rows[1]


def test_the_source_is_plain_data(own):
    run = Run(source=own)
    assert pickle.loads(pickle.dumps(own)) == own
    assert Run.from_json(run.to_json(), catalogue.find) == run


def test_hosts_share_its_files(own):
    assert own.shards() == 1 and Shakespeare().shards() is None


def splits(tfds):
    text = {"a": tfds.features.Text()}
    rows = {"train": "012345678", "validation": "v", "test": "t"}
    return text, {split: [{"a": letter * 9} for letter in letters] for split, letters in rows.items()}


def lone(tfds):
    features, made = splits(tfds)
    return features, {"train": made["train"]}


def folder(prepare, make):
    return str(prepare(make.__name__, make))


def test_what_is_held_out_is_the_validation_split_where_there_is_one(prepare):
    assert Dataset(folder(prepare, splits)).held_out(4).text[:].tobytes() == b"vvvvvvvvv\n"


def test_splits_may_be_sliced(prepare):
    source = Dataset(folder(prepare, lone), train_split="train[:7]", held_out_split="train[7:]")
    assert source.train(4, 0).text[:].tobytes() == b"\n\n".join(b"%d" % each * 9 for each in range(7)) + b"\n"
    assert source.held_out(4).text[:].tobytes() == b"777777777\n\n888888888\n"


@pytest.mark.parametrize(
    "make, fields, words",
    [
        (lone, {}, "no validation or test, got the splits train; slices will do"),
        (splits, {"train_split": "tarin"}, "train_split must be a split of .*train, validation, test, got 'tarin'"),
        (splits, {"held_out_split": "train[x]"}, r"held_out_split must be a split of .*got 'train\[x\]'"),
        (splits, {"held_out_split": "train[8:]"}, r"share no document with train_split, got 'train\[8:\]' and 'train'"),
        (splits, {"held_out_split": "all"}, "share no document"),
        (splits, {"train_split": "train[:0]"}, "more tokens than one context in its split .*, got 0 for"),
        (splits, {"train_split": "train[:1]"}, "got 10 for a context of 20"),
        (splits, {"feature": "b"}, "one of a, got 'b'"),
    ],
)
def test_what_a_data_set_lacks_is_refused_with_what_it_has(make, fields, words, prepare):
    with pytest.raises(ValueError, match=words):
        Dataset(folder(prepare, make), **fields).train(20, 0)


@pytest.mark.parametrize(
    "fields, error, words",
    [
        ({"dataset": None}, TypeError, "Dataset.dataset must be text, got None"),
        ({"data_dir": 3}, TypeError, "Dataset.data_dir must be text, got 3"),
        ({"vocabulary": 0}, ValueError, "Dataset.vocabulary must be a whole number of at least 1, got 0"),
    ],
)
def test_fields_of_a_wrong_kind_are_refused(fields, error, words):
    with pytest.raises(error, match=words):
        Dataset(**fields)


def test_a_model_must_hold_the_vocabulary():
    with pytest.raises(ValueError, match="must hold the source's 1000 tokens, got 256"):
        Run(source=Dataset(vocabulary=1000))
