"""`jattn train`: what a run holds, and what is refused in one sentence."""

import json

import pytest

from jattn import cli


def test_a_run_holds_what_was_chosen(trained, text):
    held = json.loads((trained / "run.json").read_text())
    assert (held["steps"], held["context"], held["model"]["width"]) == (2, 8, 8)
    assert held["source"] == {"name": "Text", "files": [str(text)]}
    attention = held["model"]["attention"]
    assert attention["mask"] == {"name": "Window", "left": 5, "right": 0}
    assert attention["normalizer"] == {"name": "Sparsemax"}
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--stesp", "3"], "no option --stesp; the nearest is --steps"),
        (["--preset", "smok"], "smoke"),
        (["--smoke", "3"], "--smoke takes no value"),
        (["--steps", "0"], "Run.steps must be a whole number of at least 1, got 0"),
        (["--batch", "-2"], "got -2"),
        (["--model.width", "0"], "got 0"),
        (["--model.width", "10", "--model.heads", "3"], "got"),
        (["--steps", "many"], "--steps takes a whole number, got 'many'"),
        (["--model.attention.mask", "casual"], "the nearest is causal"),
        (["--model.attention.mask", "os.system"], "got the path 'os.system'"),
        (["--optimizer", "moun"], "the nearest is muon"),
        (["--text", "nowhere.txt"], "'nowhere.txt'"),
        (["--text", "."], "directory"),
        (["--text", "empty.txt"], "empty"),
        (["--text", "short.txt"], "context"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(words, sentence, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("short")
    smoke = [] if "--preset" in words or "--smoke" in words else ["--smoke"]
    code, told = refused("train", *smoke, *words, "--dir", "run")
    assert code == 2 and sentence in told
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_a_directory_of_another_run_is_refused(trained, refused):
    before = (trained / "run.json").read_text()
    code, told = refused("train", "--smoke", "--dir", trained)
    assert code == 2 and "run.json" in told
    assert (trained / "run.json").read_text() == before


def test_a_loss_that_is_no_number_is_code_1_with_its_step(capsys, tmp_path, tiny, monkeypatch, text):
    words = [*tiny, "--steps", "60", "--text", str(text), "--optimizer.rate", "1e30", "--optimizer.other-rate", "1e30"]
    assert cli.main(["train", *words, "--dir", str(tmp_path / "run")]) == 1
    assert "at step" in capsys.readouterr().err.splitlines()[-1]
