"""The cost of a save: both sides take the same steps, and one of them saves."""

from jattn.benchmarks import saves, turns
from jattn.training import checkpoint


def test_one_side_saves_once_a_turn(monkeypatch):
    kept = []
    monkeypatch.setattr(checkpoint.Saver, "save", lambda self, held, example: kept.append(int(held.step)))
    alone, saving = saves.measure(saves.SMOKE)
    assert (alone.contender, saving.contender, saving.peer) == (saves.PEER, saves.SAVING, saves.PEER)
    assert alone.ratio.median == 1 and "at one every 1000 steps" in saving.note
    # turns to warm up, one at the start of the round and one that counts, of two steps each
    assert len(kept) == turns.WARM_UP + 2 and kept[1] - kept[0] == 2
