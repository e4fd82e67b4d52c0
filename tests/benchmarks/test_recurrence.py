"""Rows for each length and form, held to single steps first, and pictures of them."""

import jax.numpy as jnp
import pytest

from jattn.benchmarks import REFUSED, Row, Spread, recurrence
from jattn.benchmarks.recurrence import FORMS, FULL, PEER, SMOKE


def test_lengths_double_from_64_to_65536():
    lengths = [point.length for point in FULL.points]
    assert lengths == [64 << n for n in range(11)] and lengths[-1] == 65536
    assert (FULL.channels, FULL.expansion) == (512, 16)


@pytest.mark.slow
def test_every_length_has_a_row_for_each_form():
    rows = recurrence.measure(SMOKE)
    assert [(row.length, row.contender) for row in rows] == [(n, form) for n in (16, 32) for form in FORMS]
    assert all(row.peer == PEER and row.ratio and row.temporary_bytes is not None for row in rows)
    assert all(row.ratio.median == 1 for row in rows if row.contender == PEER)


@pytest.mark.slow
def test_what_is_wrong_or_too_large_is_not_timed(monkeypatch):
    right = recurrence.recurrent.recur

    def off(*given, form):
        out, state = right(*given, form=form)
        return (out * 1.001 if form == "chunked" else out * jnp.nan if form == "convolution" else out), state

    monkeypatch.setattr(recurrence.recurrent, "recur", off)
    monkeypatch.setattr(recurrence, "MOST_TEMPORARY", 0)
    monkeypatch.setattr(recurrence.turns, "interleaved", lambda run, *_: pytest.fail("timed") if run else {})
    rows = recurrence.measure(SMOKE)
    refused = [row for row in rows if row.note.startswith(REFUSED)]
    assert {row.contender for row in refused} == {"chunked", "convolution"}
    assert "within 1e-05, got 1.0e-03 for chunked; mend it first." in " ".join(row.note for row in refused)
    rest = [row for row in rows if row not in refused]
    assert {row.contender for row in rest} == {PEER, "associative"}
    assert all(row.milliseconds is None and row.note.endswith("not run") for row in rest if row.temporary_bytes)


def test_pictures_have_a_line_a_form():
    once = Spread(2.0, 1.0, 3.0)
    rows = [
        Row("gradient", form, once, once if length < 64 else None, PEER, 2**20 * length, length=length)
        for length in (16, 32, 64)
        for form in FORMS
    ]
    drawn = recurrence.pictures(rows)
    assert list(drawn) == ["time", "memory"]
    for kind, lengths, heights in (("time", [16, 32], [2, 2]), ("memory", [16, 32, 64], [16, 32, 64])):
        (axes,) = drawn[kind].axes
        assert [line.get_label() for line in axes.lines] == list(FORMS)
        assert all(list(line.get_xdata()) == lengths and list(line.get_ydata()) == heights for line in axes.lines)
