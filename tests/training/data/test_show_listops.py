"""What is printed of ListOps: expressions with their values, histograms that count, and refusals in a sentence."""

import numpy as np
import pytest

from jattn.training.data import show_listops


def test_histograms_count_and_tell_what_is_expected():
    chances = np.zeros(10)
    chances[4:] = [0.3, 0.1, 0.1, 0.1, 0.1, 0.1]
    shown = show_listops.histograms([4, 4, 4, 5, 8, 9, 9, 4], [0, 0, 0, 1, 9, 9, 9, 9], chances)
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line and not line.startswith("always")}
    full, half = "#" * show_listops.SIGNS, "#" * (show_listops.SIGNS // 2)
    assert rows["4-4"] == ["4", "3.0", full] and rows["9-9"] == ["2", "1.0", half] and rows["6-6"] == ["0", "1.0"]
    assert rows["9"] == ["4", full] and rows["5"] == ["0"] and rows["1"] == ["1", "#" * (show_listops.SIGNS // 4)]
    assert shown.endswith("always naming the commonest value, 9, is right in 50.00%")


def test_the_command_shows_what_the_source_draws(capsys):
    show_listops.main("--count 30 --longer-than 3 --shorter-than 90 --depth 4 --seed 1".split())
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith(tuple(f" = {digit}" for digit in range(10))) and shown[0].startswith("[")
    counts = [int(line.split()[1]) for line in shown if line[:1].isdigit()]
    # lengths and classes
    assert sum(counts) == 2 * 30 and len(counts) == show_listops.BARS + 10


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--depth", "0"], "error: ListOps.depth must be a whole number of at least 1, got 0; a value alone"),
        (["--count", "0"], "error: --count must be at least 1, got 0; leave it out"),
        (["--seed", "-1"], "error: --seed must be at least 0, got -1; leave it out"),
    ],
)
def test_what_is_out_of_range_is_refused_in_a_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit):
        show_listops.main(words)
    assert sentence in capsys.readouterr().err
