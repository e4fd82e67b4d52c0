"""Commands as a user runs them: what they leave, and what they refuse in one sentence."""

import json

import pytest

from jattn import cli
from jattn.cli import plot


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
    told = capsys.readouterr().out
    assert ["Rotary", "positions"] in [line.split()[:2] for line in told.splitlines()] and "Sparsemax" not in told


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
def test_other_commands_refuse_alike(words, sentence, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told = refused(*words)
    assert code == 2 and sentence in told


def test_a_defect_keeps_its_trace(monkeypatch):
    def broken(*_):
        return json.loads("{")

    monkeypatch.setitem(cli.COMMANDS, "plot", (plot.Plot, broken))
    with pytest.raises(ValueError):
        cli.main(["plot"])
