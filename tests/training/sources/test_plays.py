"""Passages of labeled scenes: what is held out, how both parts are cut, and how unlike the classes are."""

import numpy as np
import pytest

from jattn.training import classes
from jattn.training.data import scenes
from jattn.training.sources.plays import Covering, Drawn, Plays


def text(example):
    return example["inputs"][: example["valid"]].astype(np.uint8).tobytes()


def test_every_passage_is_of_a_scene_of_its_own_part():
    train, held_out = Plays("play").train(300, 0), Plays("play").held_out(300)
    for examples, other, numbers in ((train, held_out, range(60)), (held_out, train, range(0, len(held_out), 37))):
        for number in numbers:
            example = examples[number]
            play = scenes.PLAYS[example["label"]]
            assert any(text(example) in scene for scene in scenes.scenes()[play])
            assert any(text(example) in scene for scene in examples.texts)
            assert not any(text(example) in scene for scene in other.texts)
    assert len(train.texts) + len(held_out.texts) == sum(len(each) for each in scenes.scenes().values())
    # about a fifth of the text
    assert 0.15 < held_out.sizes.sum() / (held_out.sizes.sum() + train.sizes.sum()) < 0.2


def test_what_is_held_out_is_covered_without_repetition():
    held_out = Covering([b"abcdefg", b"xyz", b"0123"], [2, 1, 0], 4)
    found = [(text(held_out[n]), int(held_out[n]["label"])) for n in range(len(held_out))]
    assert found == [(b"abcd", 2), (b"defg", 2), (b"xyz", 1), (b"0123", 0)]
    assert held_out[2]["inputs"].tolist() == [*b"xyz", 0] and held_out[2]["valid"] == 3


def test_passages_are_drawn_as_often_as_scenes_are_long():
    train = Drawn([b"a" * 60, b"bc", b"d" * 38], [0, 1, 2], 5, 7)
    found = [train[n] for n in range(4000)]
    shares = np.bincount([each["label"] for each in found]) / len(found)
    # five standard deviations
    assert (np.abs(shares - [0.6, 0.02, 0.38]) < 5 * np.sqrt([0.24 / 4000, 0.0196 / 4000, 0.2356 / 4000])).all()
    assert {text(each) for each in found} == {b"aaaaa", b"bc", b"ddddd"} and len(train) == 20
    # every place of a scene begins a passage
    places = Drawn([bytes(range(9))], [0], 5, 0)
    assert {text(places[n])[0] for n in range(100)} == {0, 1, 2, 3, 4}


def test_seed_and_number_decide_without_end():
    one, again, other = (Plays().train(200, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one[5]["inputs"], again[5]["inputs"])
    assert len({text(each) for each in (one[5], one[5 + len(one)], other[5])}) == 3


@pytest.mark.parametrize(("label", "count", "least", "most"), [("kind", 3, 0.33, 0.45), ("play", 36, 1 / 36, 0.06)])
def test_classes_are_all_there_and_none_is_most(label, count, least, most):
    source = Plays(label)
    held_out = source.held_out(256)
    assert source.needs == {"vocabulary": 256, "classes": count} and (classes.counts(held_out) > 0).sum() == count
    assert least < classes.majority(held_out) < most
    for name, shape in source.outline(256).items():
        assert (shape.shape, shape.dtype) == (held_out[0][name].shape, held_out[0][name].dtype)


def test_kinds_are_those_of_the_plays():
    kinds, plays = Plays("kind").held_out(500), Plays("play").held_out(500)
    for number in range(0, len(kinds), 41):
        kind = list(scenes.KINDS)[kinds[number]["label"]]
        assert scenes.PLAYS[plays[number]["label"]] in scenes.KINDS[kind]


def test_an_unknown_label_is_refused():
    with pytest.raises(ValueError, match="Plays.label must be 'kind' or 'play', got 'author'"):
        Plays("author")
