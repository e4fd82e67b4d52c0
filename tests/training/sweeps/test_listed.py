"""Tests that a file's list is taken, and what does not build one is refused with the place."""

import sys

import pytest

from jattn.training.run import Run
from jattn.training.sweeps import listed

HEAD = "from jattn.training.run import Run\n"


def written(directory, text):
    (file := directory / "made.py").write_text(text)
    return file


def test_the_list_is_taken_with_what_lies_beside(tmp_path, capsys):
    (tmp_path / "beside_it.py").write_text("SEEDS = (3, 4)\n")
    text = HEAD + "from beside_it import SEEDS\nprint('words')\nRUNS = [Run(seed=seed) for seed in SEEDS]\n"
    before = list(sys.path)
    assert listed.runs(written(tmp_path, text)) == [Run(seed=3), Run(seed=4)]
    assert sys.path == before and capsys.readouterr() == ("", "words\n")


def test_nothing_is_written_beside_the_file(tmp_path):
    file = written(tmp_path, HEAD + "RUNS = [Run()]\n")
    listed.runs(file)
    assert list(tmp_path.iterdir()) == [file]


def test_a_part_of_the_files_own_is_a_part(tmp_path):
    # annotations as text are looked up in the file's module
    text = (
        "from __future__ import annotations\n"
        + HEAD
        + "from jattn.part import part\nfrom jattn.training.objectives.next_token import NextToken\n"
        "@part\nclass Mine(NextToken):\n    weight: float = 2.0\nRUNS = [Run(objective=Mine())]\n"
    )
    (run,) = listed.runs(written(tmp_path, text))
    assert '"name": "Mine",\n    "weight": 2.0' in run.to_json()


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("x = 1\nRUNS = [\n", r"must be Python, got '.*made.py', line 2: '\[' was never closed"),
        ("RUNS = '\0'", "must be Python, got .*null bytes"),
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError: division by zero; correct it"),
        ("def f():\n    raise KeyError('a')\nf()\n", "line 2: KeyError: 'a'"),
        ("import sys\nsys.exit('no')\n", "line 2: SystemExit: no"),
        (HEAD + "RUNS = [Run(seed=-1)]", "line 2: ValueError: Run.seed must lie"),
        ("runs = []", "must build RUNS, got"),
        ("RUNS = {}", "must be a list of Run, got dict"),
        ("RUNS = []", "at least one Run"),
        (HEAD + "RUNS = [Run(), 7]", r"got int '7' as RUNS\[1\]"),
    ],
)
def test_what_builds_no_list_is_refused(text, sentence, tmp_path):
    with pytest.raises((ValueError, TypeError), match=sentence):
        listed.runs(written(tmp_path, text))


def test_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must exist, got"):
        listed.runs(tmp_path / "none.py")
    with pytest.raises(IsADirectoryError, match="got the directory"):
        listed.runs(tmp_path)
