"""ListOps as examples: padding, labels, seeds, parts, training from the command line, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from jattn import cli
from jattn.training import classes
from jattn.training.data import listops
from jattn.training.sources import listops as source_of_listops
from jattn.training.sources.listops import ListOps

SHORT = ListOps(depth=4, longer_than=10, shorter_than=41, examples=50)


def test_examples_are_padded_expressions_and_their_values():
    train = SHORT.train(45, 3)
    for number in range(20):
        example = train[number]
        tokens = example["inputs"][: example["valid"]]
        assert 10 < len(tokens) < 41 and tokens.min() > 0 and not example["inputs"][len(tokens) :].any()
        assert example["label"] == listops.value(tokens.tolist())
    for name, shape in SHORT.outline(45).items():
        assert (shape.shape, shape.dtype) == (example[name].shape, example[name].dtype)
    assert (SHORT.vocabulary, SHORT.needs) == (16, {"vocabulary": 16, "classes": 10})
    assert (SHORT.unit, SHORT.units(45), SHORT.shortest) == ("expression", 1, 40)


def test_seed_and_number_decide_and_epochs_repeat():
    one, again, other, held_out = SHORT.train(40, 3), SHORT.train(40, 3), SHORT.train(40, 4), SHORT.held_out(40)
    assert (len(one), len(held_out)) == (50, 2000)
    np.testing.assert_array_equal(one[57]["inputs"], again[7]["inputs"])
    drawn = {tuple(each["inputs"]) for each in (one[0], one[1], other[0], held_out[0])}
    assert len(drawn) == 4
    np.testing.assert_array_equal(
        held_out[3]["inputs"], dataclasses.replace(SHORT, examples=1).held_out(40)[3]["inputs"]
    )


def test_the_benchmark_s_lengths_are_the_default():
    example = ListOps().held_out(1999)[0]
    assert 500 < example["valid"] < 2000 and ListOps().examples == 96_000
    # as the benchmark's: 10 values, 4 operators, the closing bracket, and what fills up
    assert ListOps().vocabulary == 16


def test_the_commonest_class_is_no_match_for_a_model_that_learns():
    # MIN and MAX make 0 and 9 common
    held_out = ListOps(longer_than=30, shorter_than=200, depth=5).held_out(199)
    counts = classes.counts(held_out)
    assert {*np.argsort(counts)[-2:]} == {0, 9} and 0.1 < classes.majority(held_out) < 0.2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 0}, "ListOps.depth must be a whole number of at least 1, got 0; a value alone is 1 deep"),
        ({"arguments": 1}, "ListOps.arguments must be a whole number of at least 2, got 1"),
        ({"longer_than": -1}, "ListOps.longer_than must be a whole number of at least 0, got -1"),
        ({"shorter_than": 501}, "ListOps.shorter_than must be a whole number of at least 502, got 501"),
        ({"examples": 0}, "ListOps.examples must be a whole number of at least 1, got 0"),
        # the shortest list has four tokens
        ({"longer_than": 1, "shorter_than": 4}, "got 2 to 3 tokens, which none .* has at a depth of 10 with up to 10"),
        # the longest list of values has twelve
        ({"longer_than": 12, "shorter_than": 20, "depth": 2}, "got 13 to 19 tokens, which none .* at a depth of 2"),
        (
            {"longer_than": 7400, "shorter_than": 7600},
            r"in 1,000,000 expressions has, .* one in \d,\d{3},\d{3} has .*; allow",
        ),
    ],
)
def test_what_no_expression_can_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ListOps(**options)


def test_a_context_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="longest .* 40 tokens, got 39; use --context 40, or --source.shorter-than 40"):
        SHORT.train(39, 0)


@pytest.mark.slow
def test_listops_trains_an_encoder_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source_of_listops, "HELD_OUT", 4)
    words = "--source listops --source.depth 3 --source.longer-than 5 --source.shorter-than 17 --context 16"
    more = "--model encoder --model.classes 10 --model.width 8 --model.depth 1 --objective classification"
    run = "--steps 2 --batch 2 --dir runs/a"
    assert cli.main(["train", *words.split(), *more.split(), *run.split()]) == 0
    last = json.loads((tmp_path / "runs/a/metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["heldout_accuracy"] <= 1
    assert cli.main(["eval", "--dir", "runs/a"]) == 0
    assert "nats per expression" in capsys.readouterr().out
