"""The cases, and the rows they give."""

import sys

import jax
import pytest

from jattn.benchmarks import REFUSED, attention, calls, contest, peers
from jattn.benchmarks.attention import FULL, OURS, SMOKE
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call

BESIDE = [(peers.JAX, peers.JAX), (peers.TORCH, peers.JAX), (OURS, peers.JAX), (OURS, peers.TORCH)]


@pytest.mark.slow
def test_a_case_gives_each_direction_and_contender_a_row_with_its_memory():
    pytest.importorskip("torch", reason="a peer is in the extra `bench`")
    rows = attention.measure(SMOKE)
    (case,) = SMOKE
    assert [(row.contender, row.peer) for row in rows] == BESIDE * 2
    assert [row.case for row in rows[::4]] == [f"{case.title}, {each}" for each in (FORWARD, GRADIENT)]
    assert all(row.milliseconds.low > 0 and row.origin == case.calls[OURS].origin for row in rows)
    assert all((row.temporary_bytes is None) == (row.contender == peers.TORCH) for row in rows)


@pytest.mark.slow
def test_a_wrong_contender_is_a_row_without_times_and_a_case_without_a_right_one_is_refused(monkeypatch):
    right = calls.ours

    def wrong(call):
        return lambda smooth, segments: (1.001 * right(call)(smooth, segments)[0], None)

    monkeypatch.setattr(calls, "ours", wrong)
    case = SMOKE[0]._replace(peers=(peers.JAX,))
    for peer, ours in zip(*[iter(attention.measure((case,)))] * 2, strict=True):
        assert peer.milliseconds and not ours.milliseconds and ours.note.startswith(REFUSED)
        assert f"for {OURS}, {case.title}, forward; mend it first" in ours.note
    monkeypatch.setattr(contest, "timed", lambda *_: pytest.fail("timed"))
    with pytest.raises(FloatingPointError, match=f"for {OURS}"):
        attention.measure((case._replace(peers=()),))


def test_an_absent_peer_is_a_row_without_times(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    *others, absent = attention.measure((SMOKE[0]._replace(directions=(FORWARD,)),))
    assert [row.contender for row in others] == [peers.JAX, OURS]
    assert absent.contender == peers.TORCH and absent.milliseconds is None and "needs torch" in absent.note


def test_a_ratio_per_multiply_add_makes_up_for_the_work(monkeypatch):
    # a call of four times the multiply-adds in twice the time takes half of it for each
    few, many = Call(7, heads=2, width=8), Call(7, heads=4, width=16)
    assert attention.multiply_adds(few) == 2 * 8 * (1 + 2 + 3 + 4 + 5 + 6 + 7)
    monkeypatch.setattr(contest.turns, "interleaved", lambda made, *_: dict(zip(made, ([2.0], [4.0]), strict=True)))
    case = attention.Case("case", {"few": few, "many": many}, directions=(FORWARD,), ratio=attention.MULTIPLY_ADD)
    assert [row.ratio.median for row in attention.measure((case,))] == [1, 0.5]


def test_cases_of_another_device_are_left_out():
    case = SMOKE[0]._replace(devices=("gpu",))
    assert attention.measure((case,)) == []


# seven gradients take many seconds to trace
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.title, marks=[pytest.mark.slow] * (len(case.calls) > 3)) for case in FULL]
)
def test_every_shape_has_an_origin_and_every_case_traces(case):
    assert all(peer in peers.PEERS for peer in case.peers)
    for call in case.calls.values():
        assert call.origin
        given = jax.eval_shape(lambda call=call: calls.inputs(call))
        (out, entropy), grads = jax.eval_shape(calls.directed(calls.ours(call), GRADIENT), given)
        assert out.shape == (call.batch, call.length, call.heads, call.width) and out.dtype == call.dtype
        assert (entropy is not None) == (call.reads == "entropy") and grads[2].shape == out.shape
