"""Rows beside exact attention, of lengths that double, and of decoding, which is held to one pass."""

import pytest

from jattn.benchmarks import REFUSED, Row, linear_attention
from jattn.benchmarks.linear_attention import EXACT, FAVOR, FULL, HALF, SMOKE


@pytest.mark.slow
def test_every_part_gives_its_rows():
    rows = linear_attention.measure(SMOKE)
    beside, doublings, decoded = rows[:2], rows[2:4], rows[4:]
    assert [(row.contender, row.peer) for row in beside] == [(EXACT, EXACT), (FAVOR, EXACT)]
    assert [(row.contender, row.peer, row.length) for row in doublings] == [(FAVOR, HALF, 16), (FAVOR, HALF, 32)]
    assert doublings[0].ratio.median == 1 and all(row.temporary_bytes for row in doublings)
    assert [row.contender for row in decoded] == ["tokens 1 to 8", "tokens 25 to 32"]
    # of each head a level, sums with and without values, with what rounding took, values, their number; tokens, those
    # seen, the segment
    size = 4 * 2 * (1 + 2 * (4 * 8 + 4) + 8 + 1) + 3 * 4
    assert all(row.note.startswith(f"state {size} bytes, ") for row in decoded)


def test_lengths_double():
    lengths = [call.length for call in FULL.doublings]
    assert lengths == [4096 << n for n in range(6)] and lengths[-1] == 131072
    assert FULL.decoding.call.length % FULL.decoding.block == 0


def test_what_is_refused_is_not_timed_further(monkeypatch):
    refused = Row("case", FAVOR, None, None, EXACT, note=f"{REFUSED}it is wrong.")
    monkeypatch.setattr(linear_attention.attention, "measure", lambda cases: [refused])
    monkeypatch.setattr(linear_attention.turns, "interleaved", lambda *_: pytest.fail("timed"))
    assert linear_attention.measure(SMOKE) == [refused]


def test_decoding_that_is_not_one_pass_is_refused(monkeypatch):
    monkeypatch.setattr(linear_attention.attention, "measure", lambda cases: [])
    monkeypatch.setattr(linear_attention, "CLOSE", 0.0)
    monkeypatch.setattr(
        linear_attention.turns, "interleaved", lambda taken, *_: {} if not taken else pytest.fail("timed")
    )
    rows = linear_attention.measure(SMOKE._replace(doublings=()))
    assert [row.contender for row in rows] == ["tokens 1 to 8", "tokens 25 to 32"]
    assert all(row.note.startswith(REFUSED) and "within 0e+00, got" in row.note for row in rows)
