"""`jattn convert`."""

import pytest

from jattn import cli
from jattn.training import checkpoint


@pytest.fixture(scope="module")
def softmax(tmp_path_factory, text, tiny):
    directory = tmp_path_factory.mktemp("runs") / "softmax"
    assert cli.main(["train", *tiny, "--dir", str(directory), "--text", str(text)]) == 0
    return directory


def test_a_run_is_converted_and_trained_on(softmax, tmp_path, capsys):
    new = tmp_path / "new"
    words = ["--to", "lln", "--dir", str(new), "--steps", "2", "--model.attention.feature.key-deviation", "2"]
    assert cli.main(["convert", str(softmax), *words]) == 0
    before, after, go_on = capsys.readouterr().out.splitlines()[-3:]
    assert before.endswith(f"nats per byte, softmax, of {softmax}") and "right after, with log_normal features" in after
    # two steps from a uniform guess over 256 bytes
    assert 4 < float(before.split()[2]) < 6 and 4 < float(after.split()[0]) < 6
    assert go_on.endswith(f"jattn train --resume {new}, 2 steps")
    assert cli.main(["eval", "--dir", str(new)]) == 0
    assert capsys.readouterr().out.split()[0] == after.split()[0]
    assert cli.main(["train", "--resume", str(new)]) == 0
    assert "in 2 steps" in capsys.readouterr().out
    assert checkpoint.saved(new, 2) and '"key_deviation": 2' in (new / "run.json").read_text()


@pytest.mark.slow
def test_features_are_distilled(softmax, tmp_path, capsys):
    words = ["--to", "hedgehog", "--dir", str(tmp_path / "new"), "--distill", "2"]
    assert cli.main(["convert", f"--run={softmax}", *words]) == 0
    told = capsys.readouterr().out.splitlines()[-2]
    assert "after 2 steps of distillation, to a cross entropy of weights of" in told


def test_bad_input_is_told_in_a_sentence(softmax, trained, refused, tmp_path):
    new = "--dir", tmp_path / "new"
    for words, told in (
        ((), "takes a run's directory first, got none"),
        ((tmp_path / "none", "--to", "elu"), "must hold run.json, got"),
        ((softmax,), "--to takes the features of linear attention, got none; it has elu, favor"),
        ((softmax, "--to", "hedgehgo"), "No part of features is called 'hedgehgo'; the nearest is hedgehog"),
        ((softmax, "--to", "elu", "--distill", "-1"), "--distill must be at least 0, got -1"),
        ((softmax, "--to", "elu", "--distill", "2"), "got Elu, which learn nothing"),
        ((softmax, "--to", "elu", "--model.width", "16"), "float32[256, 8] there and float32[256, 16] in the new one"),
        ((softmax, "--to", "elu", "--model.attention.featur", "elu"), "no option --model.attention.featur; the near"),
        ((softmax, "--to", "elu", "--model.attention.order", "full"), "got an attention of order 'full'"),
        ((trained, "--to", "elu"), "got Sparsemax, Window"),
    ):
        code, words = refused("convert", *words, *new)
        assert code == 2 and told in words
    code, words = refused("convert", softmax, "--to", "elu", "--dir", softmax)
    assert code == 2 and "must hold no other run" in words
    assert not (tmp_path / "new").exists()


def test_help_names_the_options(capsys):
    assert cli.main(["convert", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--distill" in shown and "jattn convert RUN --to FEATURE" in shown
