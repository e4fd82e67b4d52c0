"""Tests that parts are measured where they are named, kept apart from tiny ones, and read as they were written."""

import jax
import pytest

from jattn.training.sweeps import measures

PARTS = {"one": lambda setting: [{"a": 1, "size": setting}, {"a": 2, "size": setting}], "other": lambda setting: []}


def test_named_parts_are_written_and_read(tmp_path, capsys):
    assert measures.main(["one"], tmp_path, PARTS, 9, 1) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "results" / "one.json")
    found = measures.load(tmp_path, tmp_path / "results")
    assert found.rows == {"one": [{"a": 1, "size": 9}, {"a": 2, "size": 9}]}
    assert found.held[0]["versions"]["jax"] == jax.__version__ and found.held[0]["machine"]["cores"] >= 1
    assert found.chosen("one", a=2, size=9) == [{"a": 2, "size": 9}]
    assert found.chosen("one", a=3) == found.chosen("other") == []


def test_tiny_ones_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measures.main(["--smoke"], tmp_path / "claim", PARTS, 9, 1) == 0
    assert not (tmp_path / "claim").exists()
    found = measures.load(tmp_path, tmp_path / "runs" / "claim" / "smoke" / "results")
    assert found.rows["one"][0]["size"] == 1 and found.rows["other"] == []


def test_an_unknown_part_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        measures.main(["noe"], tmp_path, PARTS, 9, 1)
    assert "A part is one of one, other, got noe." in capsys.readouterr().err


def test_nothing_measured_is_nothing_found(tmp_path):
    assert measures.load(tmp_path, tmp_path / "results") == measures.Measured({}, [])
