"""Tests how the user's files are split, and what is refused."""

import pytest

from jattn.training.sources import text
from jattn.training.sources.text import Text


def test_the_last_twentieth_is_held_out():
    train, held = text.split(bytes(range(200)))
    assert (train, held) == (bytes(range(190)), bytes(range(190, 200)))


def test_long_texts_hold_out_every_twentieth_block(monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 2)
    whole = bytes(range(90))
    train, held = text.split(whole)
    assert held == whole[38:40] + whole[78:80]
    assert train == whole[:38] + whole[40:78] + whole[80:]


def test_files_are_joined(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * 3)
    assert text.read((str(tmp_path / "a"), str(tmp_path / "b"))) == b"aaa\nbbb"


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_bytes(b"x" * 60)
    refused = {
        "missing": (FileNotFoundError, "files that exist"),
        "empty": (ValueError, "hold text"),
        ".": (ValueError, "directory"),
        "short": (ValueError, "training part, got 57"),
    }
    for name, (error, words) in refused.items():
        with pytest.raises(error, match=words):
            Text((str(tmp_path / name),)).train(57, 0)
    with pytest.raises(ValueError, match="held-out part, got 3"):
        Text((str(tmp_path / "short"),)).held_out(3)
    with pytest.raises(ValueError, match="at least one file"):
        Text().train(4, 0)
    with pytest.raises(TypeError, match="tuple of paths"):
        Text("a.txt")
