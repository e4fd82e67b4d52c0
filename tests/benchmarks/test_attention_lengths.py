"""A sweep over lengths: times as far as memory lets it run, memory further, and both as pictures."""

import sys

import pytest

from jattn.benchmarks import Row, Spread, attention_lengths, contest, peers
from jattn.benchmarks.attention_lengths import FULL, Point
from jattn.benchmarks.contest import OURS

POINTS = (Point(16, 1), Point(48))


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


def test_lengths_double():
    assert all(later.length == 2 * earlier.length for earlier, later in zip(FULL[:-1], FULL[1:], strict=True))


def test_a_length_without_rounds_tells_its_memory_alone(alone):
    *rows, absent = attention_lengths.measure(POINTS)
    assert [(row.case, row.length, row.contender) for row in rows] == [
        (case, length, name)
        for case in ("forward", "gradient")
        for length in (16, 48)
        for name in (peers.JAX, OURS)
    ]  # fmt: skip
    assert all((row.milliseconds is None) == (row.length == 48) for row in rows)
    assert all(row.temporary_bytes is not None for row in rows)
    assert absent.contender == peers.TORCH and "needs torch" in absent.note


def test_a_program_that_allocates_too_much_is_not_run(alone, monkeypatch):
    monkeypatch.setattr(attention_lengths, "MOST_TEMPORARY", 0)
    monkeypatch.setattr(contest.turns, "interleaved", lambda *_: pytest.fail("run"))
    *rows, _ = attention_lengths.measure((Point(48, 1),))
    assert rows and all(row.note == "over 2 GiB, not run" for row in rows if row.temporary_bytes)


def test_a_wrong_contender_is_refused(alone, monkeypatch):
    right = contest.calls.ours
    wrong = lambda call: lambda *given: (1.001 * right(call)(*given)[0], None)  # noqa: E731
    monkeypatch.setattr(contest.calls, "ours", wrong)
    rows = attention_lengths.measure(POINTS)
    assert all(row.contender == peers.JAX for row in rows if row.length)
    assert [row.contender for row in rows if "for jattn, causal, 16 tokens, forward" in row.note] == [OURS]


def test_pictures_have_a_panel_a_direction_and_a_line_a_contender():
    once = Spread(2.0, 1.0, 3.0)
    rows = [
        Row(case, name, once if length < 64 else None, once, peer, 2**20 * length, length=length)
        for case in ("forward", "gradient")
        for length in (16, 32, 64)
        for name, peer in ((peers.JAX, peers.JAX), (OURS, peers.JAX), (OURS, peers.TORCH))
    ]
    drawn = attention_lengths.pictures(rows)
    assert list(drawn) == ["time", "memory"]
    for kind, lengths, heights in (("time", [16, 32], [2, 2]), ("memory", [16, 32, 64], [16, 32, 64])):
        assert [axes.get_title() for axes in drawn[kind].axes] == ["forward", "gradient"]
        for axes in drawn[kind].axes:
            assert [line.get_label() for line in axes.lines] == [peers.JAX, OURS]
            for line in axes.lines:
                assert list(line.get_xdata()) == lengths and list(line.get_ydata()) == heights
