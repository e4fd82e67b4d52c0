"""Tests how the user's files are read and split, and what is refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jattn.training.sources import text
from jattn.training.sources.text import Text
from jattn.training.windows import Sliding, Windows


def array(given):
    return np.frombuffer(given, np.uint8)


def whole(pieces):
    return pieces[:].tobytes()


def test_the_last_twentieth_is_held_out():
    train, held = text.split(array(bytes(range(200))))
    assert (whole(train), whole(held)) == (bytes(range(190)), bytes(range(190, 200)))


def test_long_texts_hold_out_every_twentieth_block(monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 2)
    given = bytes(range(90))
    train, held = text.split(array(given))
    assert whole(held) == given[38:40] + given[78:80]
    assert whole(train) == given[:38] + given[40:78] + given[80:]


@pytest.mark.parametrize("length", [80, 79, 78, 77, 41, 40])
def test_the_last_block_may_be_short_or_lack(length, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 2)
    given = bytes(range(length))
    train, held = text.split(array(given))
    blocks = [given[start : start + 2] for start in range(0, length, 2)]
    assert whole(held) == b"".join(blocks[19::20])
    assert whole(train) == b"".join(block for n, block in enumerate(blocks) if n % 20 != 19)


def test_files_are_joined(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * 3)
    assert whole(text.joined((str(tmp_path / "a"), str(tmp_path / "b")))) == b"aaa\nbbb"


def test_windows_are_those_of_the_files_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    random = np.random.default_rng(0)
    given = [random.integers(0, 256, size, dtype=np.uint8).tobytes() for size in (1000, 1, 2500, 64, 3)]
    for number, each in enumerate(given):
        (tmp_path / str(number)).write_bytes(each)
    source = Text(tuple(str(tmp_path / str(number)) for number in range(len(given))))
    joined = b"\n".join(given)
    blocks = [joined[start : start + 64] for start in range(0, len(joined), 64)]
    train = Windows(b"".join(block for n, block in enumerate(blocks) if n % 20 != 19), 7, 3)
    held = Sliding(b"".join(blocks[19::20]), 7)
    mapped, mapped_held = source.train(7, 3), source.held_out(7)
    assert (len(mapped), len(mapped_held)) == (len(train), len(held))
    for number in range(0, 3 * len(train), 2):
        found = mapped[number]["tokens"]
        np.testing.assert_array_equal(found, train[number]["tokens"])
        assert found.dtype == np.int32
    for number in range(len(held)):
        for name, values in held[number].items():
            np.testing.assert_array_equal(mapped_held[number][name], values)


def test_more_files_than_a_process_may_open_are_read(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="this platform has no limit on open files to lower")
    monkeypatch.setattr(text, "MAPS", 4)
    files = [tmp_path / str(number) for number in range(60)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number + 100]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with files[0].open() as first_free:
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free.fileno() + 20, hard))
    try:
        joined = whole(text.joined(tuple(map(str, files))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert joined == b"\n".join(bytes([number + 100]) for number in range(60))


def test_a_file_larger_than_memory_is_not_read(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        # no blocks lie behind most of it
        file.truncate(1 << 36)
    source = Text((str(path),))
    train, held = source.train(8, 0), source.held_out(8)
    assert len(train.text) + len(held.text) == 1 << 36
    assert not train[len(train) - 1]["tokens"].any() and held[len(held) - 1]["scored"].any()


def test_the_source_stays_plain_data(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 400)
    source = Text((str(tmp_path / "a"),))
    source.train(4, 0)
    assert pickle.loads(pickle.dumps(source)) == source and vars(source) == {"files": (str(tmp_path / "a"),)}


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_bytes(b"x" * 60)
    refused = {
        "missing": (FileNotFoundError, "files that exist"),
        "short/below": (FileNotFoundError, "files that exist"),
        "empty": (ValueError, "hold text"),
        ".": (ValueError, "directory"),
        os.devnull: (ValueError, "device"),
        "long" * 999: (OSError, "can be read"),
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


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x" * 60)

    # as for a user without the right, whom a suite run by root has not
    def open(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", open)
    with pytest.raises(OSError, match="can be read, got .*Permission denied; check who"):
        Text((str(tmp_path / "a"),)).train(4, 0)
