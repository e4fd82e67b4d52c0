"""Tests the arithmetic of a compressor's cost, on tiny texts."""

import math
import random
import sys
import zlib

import pytest

from jattn.benchmarks import compressors

SENTENCE = b"Tomorrow, and tomorrow, and tomorrow, creeps in this petty pace from day to day. "
NOISE = random.Random(0).randbytes(len(SENTENCE))


def _stored(data):
    """A compressor that compresses nothing: one byte a byte, and a header."""
    return b"header" + data


def _halves(data):
    """A compressor that needs half a byte a byte."""
    return data[: len(data) // 2]


def test_nats_per_byte_by_hand():
    # 3 bytes are 24 bits are 16.6355 nats, over 10 bytes
    assert compressors.nats_per_byte(3, 10) == pytest.approx(1.66355, abs=5e-6)
    assert compressors.nats_per_byte(10, 10) == pytest.approx(math.log(256))


def test_a_text_stored_costs_log_256_whatever_the_header():
    assert compressors.given(_stored, b"context", b"text") == pytest.approx(math.log(256))


def test_half_a_byte_a_byte_costs_log_16():
    assert compressors.given(_halves, b"even", b"text") == pytest.approx(math.log(16))
    assert compressors.reset(_halves, b"even", [b"text", b"is this."]) == pytest.approx([math.log(16)] * 2)


@pytest.mark.parametrize("compress", [zlib.compress, compressors.xz])
def test_a_repeated_text_costs_less_than_a_new_one(compress):
    repeated = compressors.given(compress, SENTENCE, SENTENCE)
    assert repeated < 0.5 * compressors.given(compress, NOISE, SENTENCE)
    assert repeated < 0.1 * compressors.given(compress, SENTENCE, NOISE)


def test_reset_chunks_do_not_learn_from_each_other():
    alone = compressors.reset(zlib.compress, SENTENCE, [NOISE])
    assert compressors.reset(zlib.compress, SENTENCE, [NOISE, NOISE]) == alone * 2
    # an adaptive compressor does: the same noise costs little the second time
    assert compressors.given(zlib.compress, SENTENCE, NOISE + NOISE) < 0.7 * alone[0]


def test_chunks_reach_from_the_start_to_the_end_at_even_distances():
    text = bytes(range(101))
    chunks = compressors.spread(text, count=4, size=11)
    assert [chunk[0] for chunk in chunks] == [0, 30, 60, 90]
    assert all(len(chunk) == 11 for chunk in chunks)
    assert chunks[-1] == text[-11:]


@pytest.mark.parametrize(("count", "size"), [(1, 10), (3, 102)])
def test_chunks_that_do_not_fit_are_refused(count, size):
    with pytest.raises(ValueError, match=r"^spread needs .*, got .*; ask for .*\.$"):
        compressors.spread(bytes(101), count=count, size=size)


def test_xz_remembers_what_zlib_has_lost():
    # 256 KiB lie between, zlib's window is 32 KiB; eight letters, since xz stores noise as it is and looks no further
    between = bytes(random.Random(1).choices(b"abcdefgh", k=256 << 10))
    for compress, remembers in [(compressors.xz, True), (zlib.compress, False)]:
        read = compressors.given(compress, SENTENCE + between, SENTENCE)
        unread = compressors.given(compress, between, SENTENCE)
        assert (read < 0.5 * unread) == remembers


def test_ppmd_learns_what_it_read():
    pytest.importorskip("pyppmd", reason="PPMd needs pyppmd: pip install jattn[bench]")
    assert compressors.given(compressors.ppmd, SENTENCE, SENTENCE) < 1.0
    assert compressors.given(compressors.ppmd, SENTENCE, NOISE) > 0.9 * math.log(256)


def test_without_pyppmd_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    with pytest.raises(ModuleNotFoundError, match=r"^PPMd needs the package pyppmd, .*jattn\[bench\]`\.$"):
        compressors.ppmd(b"text")
    with pytest.raises(SystemExit, match="pyppmd"):
        compressors.main()
