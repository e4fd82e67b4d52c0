"""Tests that the text in the package is whole, is what it was, and holds no held-out play in its training part."""

import hashlib

import pytest

from jattn.training.data import shakespeare

# what the published losses were measured on: a change of these is a change of every figure
TRAIN = (4_740_523, "c1cd716bddd24969378a2479fb3aa7f7f29775256c31875e7e93f1bca0a49fac")
HELD_OUT = (316_747, "4dad0b7e4abc4cb749db40d32db39c342faccfa7f5de37083b15db280c16fc5a")
# shorter lines are names, directions and half verses, which any two plays share
TRIVIAL_BYTES = 20


@pytest.fixture(scope="module")
def works():
    return shakespeare.works()


def _long_lines(text):
    """Lines over 20 bytes, blanks and case evened out, in order."""
    lines = (b" ".join(line.split()).lower() for line in text.split(b"\n"))
    return [line for line in lines if len(line) > TRIVIAL_BYTES]


def test_there_are_42_works_sorted_by_name(works):
    assert len(works) == 42
    assert list(works) == sorted(works)
    # the shortest is The Phoenix and the Turtle
    assert min(len(text) for text in works.values()) == len(works["phoenix_and_the_turtle"]) == 2096


def test_every_work_is_clean_ascii(works):
    for text in works.values():
        assert text.isascii() and text == text.strip()
        assert b"\r" not in text and b"\0" not in text and b"@" not in text
        assert b"gutenberg" not in text.lower()


def test_every_work_opens_with_its_title_and_author(works):
    for text in works.values():
        title, _, rest = text.partition(b"\n")
        assert title.isupper() and rest.lstrip().startswith(b"by William Shakespeare")


@pytest.mark.parametrize(("text", "pinned"), [("train_text", TRAIN), ("held_out_text", HELD_OUT)])
def test_the_bytes_are_the_pinned_ones(text, pinned):
    data = getattr(shakespeare, text)()
    assert (len(data), hashlib.sha256(data).hexdigest()) == pinned


def test_each_work_is_on_one_side_whole(works):
    train, held = shakespeare.train_text(), shakespeare.held_out_text()
    assert set(shakespeare.HELD_OUT) < set(works)
    for name, text in works.items():
        assert (text in held) == (name in shakespeare.HELD_OUT)
        assert (text in train) == (name not in shakespeare.HELD_OUT)
    # two line feeds after all works but the last of each side, one after that
    assert len(train) + len(held) == sum(map(len, works.values())) + 2 * (42 - 2) + 2


def test_no_held_out_byte_is_new_to_training():
    assert set(shakespeare.held_out_text()) <= set(shakespeare.train_text())


def test_held_out_lines_are_not_in_training():
    train = {line for line in shakespeare.train_text().split(b"\n") if len(line) > TRIVIAL_BYTES}
    held = [line for line in shakespeare.held_out_text().split(b"\n") if len(line) > TRIVIAL_BYTES]
    shared = [line for line in held if line in train]
    # title lines, a song and two stock phrases: 0.14 % when counted first
    assert len(shared) / len(held) <= 0.002, shared


def test_no_passage_of_a_held_out_play_is_in_training():
    # sharper than eight consecutive lines in one work: eight in a row, each found anywhere in training
    train = set(_long_lines(shakespeare.train_text()))
    run = longest = 0
    for line in _long_lines(shakespeare.held_out_text()):
        run = run + 1 if line in train else 0
        longest = max(longest, run)
    assert longest < 8
