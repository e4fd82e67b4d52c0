"""Contenders are checked before they are timed; who cannot take part is left out with a reason."""

import sys

import jax
import pytest

from jattn.benchmarks import REFUSED, Spread, contest, peers
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call, Made
from jattn.benchmarks.contest import OURS

CALL = Call(13, heads=2, width=8)


def _off(ready):
    """A contender that is one part in a thousand too large in its last array."""

    def made(call, direction):
        *leaves, last = jax.tree.leaves(found := ready(call, direction).turn())
        return Made(lambda: jax.tree.unflatten(jax.tree.structure(found), [*leaves, 1.001 * last]), None)

    return made


@pytest.mark.parametrize("name", [peers.JAX, OURS])
@pytest.mark.parametrize("direction", [FORWARD, GRADIENT])
def test_a_wrong_contender_is_refused_peer_or_ours(name, direction):
    entered = contest.entered({peers.JAX: CALL}, {OURS: CALL})
    assert list(contest.checked("case", entered, (direction,))[0]) == [peers.JAX, OURS]
    entered[name] = entered[name]._replace(ready=_off(entered[name].ready))
    present, absent = contest.checked("case", entered, (direction,))
    assert name not in present and list(absent) == [name] and len(present) == 1
    assert absent[name].startswith(REFUSED) and f"for {name}, case, {direction}; mend it first" in absent[name]
    with pytest.raises(FloatingPointError, match=f"for {name}, case"):
        contest.checked("case", {name: entered[name]}, (direction,))


def test_who_is_absent_or_for_another_device_is_left_out_with_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    entered = contest.entered(dict.fromkeys((peers.TORCH, peers.CUDNN), CALL), {OURS: CALL})
    present, absent = contest.checked("case", entered, (FORWARD,))
    assert list(present) == [OURS]
    assert absent == {
        peers.TORCH: 'PyTorch needs torch, which is not installed; pip install "jattn[bench]" brings it.',
        peers.CUDNN: "cuDNN needs a GPU, and JAX computes on cpu here.",
    }


@pytest.mark.parametrize("error", [NotImplementedError("ours"), ModuleNotFoundError("ours", name="torch")])
def test_a_defect_of_ours_is_no_absence(error):
    def broken(call, direction):
        raise error

    with pytest.raises(type(error), match="ours"):
        contest.checked("case", {OURS: contest.Contender(broken, CALL)}, (FORWARD,))


def test_ours_is_held_to_pytorch_too(monkeypatch):
    taken = {peers.JAX: [4.0], peers.TORCH: [2.0], OURS: [1.0]}
    monkeypatch.setattr(contest.turns, "interleaved", lambda made, rounds, turns: taken)
    rows = contest.timed("case", {name: Made(None, 7, "words") for name in taken}, 1, 1)
    assert [(row.contender, row.peer, row.ratio.median) for row in rows] == [
        (peers.JAX, peers.JAX, 1), (peers.TORCH, peers.JAX, 0.5), (OURS, peers.JAX, 0.25), (OURS, peers.TORCH, 0.5),
    ]  # fmt: skip
    assert rows[0].temporary_bytes == 7 and rows[0].note == "words"
    assert contest.scaled(rows[1], 4).ratio == Spread(2, 2, 2)
