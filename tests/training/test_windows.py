"""Tests that windows cover the text, in an order that the seed alone decides."""

import numpy as np
import pytest

from jattn.training.windows import Sliding, Windows, batches

TEXT = bytes(range(256)) * 3


def test_one_epoch_reads_every_target_between_its_ends_once():
    windows = Windows(TEXT, 7, 0)
    starts = [windows.start(n) for n in range(len(windows))]
    assert np.all(np.diff(starts) == 7)
    assert starts[0] < 7 and len(TEXT) - 1 - (starts[-1] + 7) < 2 * 7
    for n, start in enumerate(starts):
        np.testing.assert_array_equal(windows[n]["tokens"], np.frombuffer(TEXT[start : start + 8], np.uint8))


def test_epochs_have_offsets_of_their_own_inside_the_text():
    windows = Windows(TEXT, 7, 0)
    offsets = {windows.start(epoch * len(windows)) for epoch in range(50)}
    assert offsets == set(range(7))
    assert all(len(windows[n]["tokens"]) == 8 for n in range(20 * len(windows)))


@pytest.mark.parametrize("length", [8, 9, 14, 15, 16])
def test_short_texts_give_whole_windows(length):
    windows = Windows(TEXT[:length], 7, 3)
    assert all(len(windows[n]["tokens"]) == 8 for n in range(30))


def test_an_epoch_of_batches_holds_every_window_once():
    windows = Windows(TEXT, 7, 5)
    count = len(windows)
    order = batches(windows, 2, 5)
    read = np.concatenate([order[n]["tokens"] for n in range(count // 2)])
    assert len({tuple(row) for row in read}) == count // 2 * 2
    assert {tuple(row) for row in read} <= {tuple(windows[n]["tokens"]) for n in range(count)}


def test_the_seed_and_the_step_decide_a_batch():
    one, same, other = (batches(Windows(TEXT, 7, seed), 4, seed) for seed in (1, 1, 2))
    for step in (90, 3, 40):
        np.testing.assert_array_equal(one[step]["tokens"], same[step]["tokens"])
    assert any(np.any(one[step]["tokens"] != other[step]["tokens"]) for step in range(3))


@pytest.mark.parametrize("length, context", [(2, 8), (9, 8), (10, 8), (57, 8), (58, 7), (40, 1)])
def test_sliding_scores_every_byte_but_the_first_once(length, context):
    text = bytes(range(length))
    sliding = Sliding(text, context)
    seen = []
    for n in range(len(sliding)):
        window = sliding[n]
        for place in np.flatnonzero(window["scored"]):
            seen.append(int(window["tokens"][place + 1]))
            # beyond the first context each has at least half a context before it
            assert seen[-1] <= context or place + 1 >= context - context // 2
    assert seen == list(range(1, length))
