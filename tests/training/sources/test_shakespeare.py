"""Tests that the plays held out are in no training window."""

from jattn.training.data import shakespeare
from jattn.training.sources.shakespeare import Shakespeare


def test_train_and_held_out_are_the_two_texts():
    train, held = Shakespeare().train(128, 0), Shakespeare().held_out(128)
    assert train.text.tobytes() == shakespeare.train_text()
    assert held.text.tobytes() == shakespeare.held_out_text()
    # the held-out figures count every byte but the first
    assert sum(held[n]["scored"].sum() for n in (0, 1, len(held) - 1)) <= 128 + 64 + 64
    assert bytes(held[0]["tokens"].astype("uint8")) == shakespeare.held_out_text()[:129]
