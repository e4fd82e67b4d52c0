"""Which features, splits and classes of a data set are read, and what is refused."""

import pytest

from jattn.models.encoder import EncoderConfig
from jattn.training.run import Run
from jattn.training.sources.labeled_dataset import LabeledDataset


def marked(tfds):
    kinds = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=4)}
    made = {"train": "0123456", "validation": "vw", "test": "t"}
    return kinds, {
        split: [{"text": text, "label": n % 4} for n, text in enumerate(rows)] for split, rows in made.items()
    }


def unmarked(tfds):
    return {"text": tfds.features.Text()}, {split: [{"text": "x"}] for split in ("train", "test")}


def source(prepare, make=marked, **fields):
    return LabeledDataset(str(prepare(make.__name__, make)), **({"classes": 4} | fields))


def test_both_parts_are_read_by_their_splits(prepare):
    train, held_out = source(prepare).train(3, 0), source(prepare).held_out(3)
    assert [chr(train[n]["inputs"][0]) for n in range(7)] == list("0123456")
    assert [chr(held_out[n]["inputs"][0]) for n in range(2)] == ["v", "w"] and len(held_out) == 2
    sliced = source(prepare, train_split="train[:2]", held_out_split="train[5:]")
    assert len(sliced.train(1, 0)) == 2 and chr(sliced.held_out(1)[0]["inputs"][0]) == "5"


def test_examples_are_as_the_outline_says_and_a_model_must_fit(prepare):
    given = source(prepare)
    example = given.train(5, 0)[0]
    for name, shape in given.outline(5).items():
        assert (shape.shape, shape.dtype) == (example[name].shape, example[name].dtype)
    assert given.shards() == 1 and (given.unit, given.units(128)) == ("example", 1)
    with pytest.raises(ValueError, match="must hold the source's 4 classes, got 3"):
        Run(model=EncoderConfig(classes=3), source=given)
    with pytest.raises(ValueError, match="must hold the source's 300 tokens, got 257"):
        Run(model=EncoderConfig(classes=4), source=source(prepare, vocabulary=300))


def test_sound_is_real_numbers_for_a_model_that_reads_them(prepare):
    given = source(prepare, vocabulary=300, divisor=128)
    example = given.train(5, 0)[0]
    assert example["inputs"].dtype == given.outline(5)["inputs"].dtype == "float32"
    assert example["inputs"][0] == ord("0") / 128
    Run(model=EncoderConfig(classes=4, reads="numbers"), source=given)


@pytest.mark.parametrize(
    ("make", "fields", "words"),
    [
        (marked, {"label": "text"}, "must name a class, got 'text'; the data set has label"),
        (unmarked, {}, "must name a class, got 'label'; the data set has none"),
        (marked, {"feature": "label"}, "LabeledDataset.feature must be a text or a row of whole numbers, got 'label'"),
        (marked, {"classes": 3}, "must be at least those of the data set, got 3 for 4; use --source.classes 4"),
        (marked, {"held_out_split": "train[2:]"}, "LabeledDataset.held_out_split must share no"),
        (marked, {"train_split": "train[:0]"}, "needs an example in each split, got none"),
    ],
)
def test_what_a_data_set_lacks_is_refused(prepare, make, fields, words):
    with pytest.raises(ValueError, match=words):
        source(prepare, make, **fields).train(1, 0)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"dataset": None}, TypeError, "LabeledDataset.dataset must be text, got None"),
        ({"label": 3}, TypeError, "LabeledDataset.label must be text, got 3"),
        ({"vocabulary": 0}, ValueError, "LabeledDataset.vocabulary must be a whole number of at least 1"),
        ({"classes": 0}, ValueError, "LabeledDataset.classes must be a whole number of at least 1"),
        ({"divisor": 0}, ValueError, "LabeledDataset.divisor must be a whole number of at least 1, got 0"),
        ({"longer": "kept"}, ValueError, "LabeledDataset.longer must be 'refused' or 'cut', got 'kept'"),
    ],
)
def test_fields_out_of_range_are_refused(fields, error, words):
    with pytest.raises(error, match=words):
        LabeledDataset(**fields)


def test_one_that_is_not_prepared_names_the_command(tmp_path):
    words = "LabeledDataset.dataset .*not prepared yet; run python -m jattn.training.data.prepare_listops --data-dir"
    with pytest.raises(FileNotFoundError, match=words):
        LabeledDataset(data_dir=str(tmp_path)).train(1, 0)
