"""Commands as a user runs them: what they leave, and what they refuse in one sentence."""

import json

import pytest

from jattn import cli

# one run serves all that reads one
TINY = "--smoke --steps 2 --model.width 8 --context 8 --batch 2 --evaluate-every 2 --checkpoint-every 1".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"the cat sat on the mat and the dog sat on the log\n" * 40)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, text):
    directory = tmp_path_factory.mktemp("runs") / "run"
    parts = "--model.attention.mask window --model.attention.mask.left 5 --model.attention.normalizer sparsemax".split()
    assert cli.main(["train", *TINY, *parts, "--dir", str(directory), "--text", str(text)]) == 0
    return directory


def _refused(capsys, *words):
    code = cli.main([str(word) for word in words])
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and shown.err.endswith((".\n", "?\n")) and "Traceback" not in shown.err
    return code, shown.err


def test_a_run_holds_what_was_chosen(trained, text):
    held = json.loads((trained / "run.json").read_text())
    assert (held["steps"], held["context"], held["model"]["width"]) == (2, 8, 8)
    assert held["source"] == {"name": "Text", "files": [str(text)]}
    attention = held["model"]["attention"]
    assert attention["mask"] == {"name": "Window", "left": 5, "right": 0}
    assert attention["normalizer"] == {"name": "Sparsemax"}
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 2


def test_eval_measures_on_held_out_and_on_other_text(trained, text, capsys):
    for words in ([], ["--text", text], ["--steps", "1"]):
        assert cli.main(["eval", "--dir", str(trained), *map(str, words)]) == 0
        # two steps from a uniform guess over 256 bytes
        assert 4 < float(capsys.readouterr().out.split()[0]) < 6


def test_sample_goes_on_from_the_prompt(trained, capsysbinary):
    words = ["sample", "--dir", str(trained), "--prompt", "the ", "--count", "5", "--top-k", "3", "--top-p", "0.9"]
    texts = [(cli.main(words), capsysbinary.readouterr().out)[1] for _ in range(2)]
    assert texts[0].startswith(b"the ") and texts[0] == texts[1]


def test_plot_draws_again(trained, capsys):
    (trained / "loss.png").unlink()
    assert cli.main(["plot", "--dir", str(trained)]) == 0
    assert str(trained / "loss.png") in capsys.readouterr().out and (trained / "loss.png").exists()


def test_help_shows_the_fields_of_what_is_chosen(capsys):
    assert cli.main(["train", "--help", "--model.attention.mask", "window"]) == 0
    page = capsys.readouterr().out
    for words in ("--dir", "--preset", "--text", "--steps", "--model.attention.mask.left", "--optimizer"):
        assert words in page
    for command in cli.COMMANDS:
        assert cli.main([command, "--help"]) == 0
    assert cli.main(["--help"]) == 0
    assert all(command in capsys.readouterr().out for command in ("catalogue",))


def test_the_catalogue_prints_and_filters(capsys):
    assert cli.main(["catalogue"]) == 0
    assert "Sparsemax" in capsys.readouterr().out
    assert cli.main(["catalogue", "rotary"]) == 0
    assert capsys.readouterr().out.startswith("Rotary  positions")


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
def test_bad_input_is_one_sentence_and_leaves_nothing(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("short")
    smoke = [] if "--preset" in words or "--smoke" in words else ["--smoke"]
    code, told = _refused(capsys, "train", *smoke, *words, "--dir", "run")
    assert code == 2 and sentence in told
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_a_directory_of_another_run_is_refused(trained, capsys):
    before = (trained / "run.json").read_text()
    code, told = _refused(capsys, "train", "--smoke", "--dir", trained)
    assert code == 2 and "run.json" in told
    assert (trained / "run.json").read_text() == before


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["trian"], "no command 'trian'; the nearest is train"),
        (["eval"], "train first"),
        (["eval", "--dir", "nowhere"], "--dir must hold run.json, got 'nowhere'"),
        (["sample", "--count", "0"], "--count must be at least 1, got 0"),
        (["catalogue", "windw"], "the nearest is window"),
        (["catalogue", "--all"], "takes words"),
    ],
)
def test_other_commands_refuse_alike(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told = _refused(capsys, *words)
    assert code == 2 and sentence in told


def test_a_step_that_was_not_saved_is_refused(trained, capsys):
    code, told = _refused(capsys, "eval", "--dir", trained, "--steps", "77")
    assert code == 2 and "77" in told


def test_a_loss_that_is_no_number_is_code_1_with_its_step(capsys, tmp_path, monkeypatch, text):
    words = [*TINY, "--steps", "60", "--text", str(text), "--optimizer.rate", "1e30", "--optimizer.other-rate", "1e30"]
    assert cli.main(["train", *words, "--dir", str(tmp_path / "run")]) == 1
    assert "at step" in capsys.readouterr().err.splitlines()[-1]


def test_without_a_directory_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(cli._place()) == "runs/1"
    (tmp_path / "runs" / "1").mkdir(parents=True)
    assert str(cli._place()) == "runs/2"


def test_a_defect_keeps_its_trace(monkeypatch):
    def broken(*_):
        return json.loads("{")

    monkeypatch.setitem(cli.COMMANDS, "plot", (cli.Plot, broken))
    with pytest.raises(ValueError):
        cli.main(["plot"])
