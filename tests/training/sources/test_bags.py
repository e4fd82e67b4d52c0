"""Bags hold what their label says, of images that are their part's own, and train from the command line."""

import dataclasses
import json

import numpy as np
import pytest

from jattn import cli
from jattn.training.sources import bags
from jattn.training.sources.bags import Bags
from jattn.training.sources.digits import Images


@pytest.fixture
def images(monkeypatch):
    """Images whose every pixel is their number, ten of each class in order."""
    pixels = np.broadcast_to(np.arange(100, dtype=np.float32)[:, None, None, None], (100, 8, 8, 1))
    held = Images(pixels / 100, (np.arange(100) // 10).astype(np.int32))
    monkeypatch.setattr("jattn.training.sources.digits.read", lambda name: held)


def test_labels_say_whether_the_target_is_there(images):
    train = Bags(target=3, bags=40).train(10, 0)
    sizes = set()
    for number in range(40):
        chosen, bag = train.chosen(number), train[number]
        labels = train.images.labels[chosen]
        assert bag["label"] == number % 2 == (labels == 3).any() and bag["valid"] == len(chosen)
        np.testing.assert_array_equal(bag["inputs"][: len(chosen), 0], train.images.pixels[chosen, 0, 0, 0])
        assert not bag["inputs"][len(chosen) :].any()
        sizes.add(len(chosen))
    assert sizes == set(range(5, 11))
    # on and on over epochs
    np.testing.assert_array_equal(train[43]["inputs"], train[3]["inputs"])
    for name, shape in Bags().outline(10).items():
        assert (shape.shape, shape.dtype) == (bag[name].shape, bag[name].dtype)


def test_parts_share_no_image_and_seeds_no_bag(images):
    source = Bags()
    train, other, held_out = source.train(10, 0), source.train(10, 1), source.held_out(10)
    assert not set(train.images.pixels.ravel()) & set(held_out.images.pixels.ravel())
    assert any(train.chosen(n).tolist() != other.chosen(n).tolist() for n in range(3))
    assert len(train) == 200 and len(held_out) == bags.HELD_OUT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "cifar"}, "Bags.images must be 'digits' or 'mnist', got 'cifar'"),
        ({"target": 10}, "Bags.target must lie between 0 and 9, got 10"),
        ({"bags": 1}, "Bags.bags must be a whole number of at least 2, got 1"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(Bags(), **options)


@pytest.mark.slow
def test_bags_train_from_the_command_line_by_options(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bags, "HELD_OUT", 4)
    words = (
        "--model bag --model.width 8 --source bags --context 4 --steps 2 --batch 2 --dir runs/a --objective penalized"
    )
    more = "--objective.inner classification --objective.penalty attention_entropy_maximization"
    assert cli.main(["train", *words.split(), *more.split(), "--objective.penalty.weight", "0.5"]) == 0
    held = json.loads((tmp_path / "runs/a/run.json").read_text())
    assert held["objective"]["penalty"] == {"name": "AttentionEntropyMaximization", "weight": 0.5}
    last = json.loads((tmp_path / "runs/a/metrics.jsonl").read_text().splitlines()[-1])
    # bags of 2 to 4: a pool that begins nearly even has an entropy of nearly the log of that
    assert 0 <= last["heldout_accuracy"] <= 1 and np.log(2) * 0.9 < last["entropy"][0][0] < np.log(4)
    assert cli.main(["eval", "--dir", "runs/a"]) == 0
    assert "nats per bag" in capsys.readouterr().out
