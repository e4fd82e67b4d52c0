"""`jattn eval`."""

from jattn import cli
from jattn.parts.masks.window import Window
from jattn.parts.scores.length_scale import LengthScale
from jattn.training import evaluate
from jattn.training.sources import Source


def test_eval_measures_on_held_out_and_on_other_text(trained, text, capsys):
    for words in ([], ["--text", text], ["--steps", "1"]):
        assert cli.main(["eval", "--dir", str(trained), *map(str, words)]) == 0
        # two steps from a uniform guess over 256 bytes
        assert 4 < float(capsys.readouterr().out.split()[0]) < 6


def test_of_a_long_text_some_windows_are_scored_and_it_is_said(trained, text, capsys, monkeypatch):
    # windows of 8 bytes score 4 each
    monkeypatch.setattr(evaluate, "MOST_TOKENS", 40)
    assert cli.main(["eval", "--dir", str(trained), "--text", str(text)]) == 0
    assert f"nats per byte on 10 of 499 windows of {text}" in capsys.readouterr().out


def test_text_that_cannot_be_read_is_refused(trained, refused, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_text("short")
    for name, words in {"empty": "the empty", "none": "files that exist", ".": "directory", "short": "got 5"}.items():
        code, told = refused("eval", "--dir", trained, "--text", tmp_path / name)
        assert code == 2 and words in told


def test_bytes_are_not_measured_by_a_run_on_other_tokens(trained, refused, monkeypatch):
    monkeypatch.setattr(Source, "vocabulary", 77)
    for words in (["eval", "--text", "README.md"], ["sample"]):
        code, told = refused(*words, "--dir", trained)
        assert code == 2 and "needs a run on bytes, a vocabulary of 256, got 77" in told


def test_a_step_that_was_not_saved_is_refused(trained, refused):
    code, told = refused("eval", "--dir", trained, "--steps", "77")
    assert code == 2 and "77" in told


def test_a_run_is_read_longer_and_by_another_attention(trained, text, capsys, monkeypatch):
    read, scorer = [], evaluate.scorer
    monkeypatch.setattr(evaluate, "scorer", lambda run: read.append(run) or scorer(run))
    words = "--context 24 --model.attention.score length_scale --model.attention.score.0.context 4".split()
    assert cli.main(["eval", "--dir", str(trained), "--text", str(text), *words]) == 0
    assert 4 < float(capsys.readouterr().out.split()[0]) < 6
    assert read[0].context == 24 and read[0].model.attention.score == (LengthScale(4),)
    # what was not named is the run's own
    assert read[0].model.attention.mask == Window(5) and read[0].model.width == 8


def test_a_run_is_not_read_by_what_it_has_no_arrays_for(trained, refused):
    code, told = refused("eval", "--dir", trained, "--model.attention.score", "t5_bias")
    assert code == 2 and "score.0.table of none there and float32" in told
    code, told = refused("eval", "--dir", trained, "--model.attention.mask.lefft", "3")
    assert code == 2 and "--model.attention.mask.left" in told
    code, told = refused("eval", "--dir", trained, "--context", "0")
    assert code == 2 and "Run.context must be" in told
