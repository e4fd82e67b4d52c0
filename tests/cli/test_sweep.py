"""`jattn sweep`: what it refuses, prints and leaves."""

import json
import sys
import types

import pytest

from jattn import cli
from jattn.training.sweeps import children, single, ties

LIST = """
from jattn.models.decoder import DecoderConfig
from jattn.training.run import Run
RUNS = [Run(model=DecoderConfig(width=8, depth=1), seed=seed) for seed in range(3)]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "run.py").write_text(LIST)
    return tmp_path


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "takes a Python file that builds RUNS, got none"),
        (["none.py"], "must exist, got 'none.py'"),
        (["claim"], "got the directory 'claim'"),
        (["bad.py"], "'bad.py', line 1: ZeroDivisionError"),
        (["claim/run.py", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["claim/run.py", "--index", "3"], "--index must lie between 0 and 2, got 3"),
        (["claim/run.py", "--index", "-1"], "between 0 and 2, got -1"),
        (["claim/run.py", "--job", "2"], "no option --job; the nearest is --jobs"),
        (["claim/run.py", "--smoke", "yes"], "--smoke takes no value, got 'yes'"),
        (["claim/run.py", "--slurm", "3"], "--slurm takes no value"),
        (["claim/run.py", "--dir", "bad.py"], "must be such as can be made, got 'bad.py"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(words, sentence, home, refused):
    (home / "bad.py").write_text("1 / 0")
    code, told = refused("sweep", *words)
    assert code == 2 and sentence in told
    assert {str(path.relative_to(home)) for path in home.rglob("*")} == {"claim", "claim/run.py", "bad.py"}


def test_other_commands_still_take_no_first_word(refused):
    assert "Options begin with two hyphens, got 'x'" in refused("train", "x")[1]


def test_a_script_is_printed_and_nothing_begun(home, capsys):
    assert cli.main(["sweep", "claim/run.py", "--slurm", "--results", "kept", "--jobs", "2"]) == 0
    told = capsys.readouterr().out
    assert "#SBATCH --array=0-2%2\n" in told and "#SBATCH --job-name=claim\n" in told
    assert 'srun jattn sweep claim/run.py --results kept --index "$SLURM_ARRAY_TASK_ID"\n' in told
    assert not (home / "runs").exists() and not (home / "kept").exists()


def test_each_run_is_a_process_of_its_own_at_its_place(home, monkeypatch, capsys):
    begun = []

    def fails(planned, words):
        begun.append((planned, words))
        return types.SimpleNamespace(poll=lambda: 1, kill=None, wait=None)

    monkeypatch.setattr(children, "begun", fails)
    assert cli.main(["sweep", "claim/run.py"]) == 1
    planned, words = begun[2]
    assert words[:5] == [sys.executable, "-m", "jattn", "sweep", "claim/run.py"] and words[-2:] == ["--index", "2"]
    assert str(planned.directory) == f"runs/claim/{planned.name}"
    assert str(planned.result) == f"claim/results/{planned.name}.json"
    assert capsys.readouterr().out.rstrip().endswith("failed")


def test_an_index_trains_that_run_alone_in_this_process(home, monkeypatch):
    asked = []
    monkeypatch.setattr(single, "trained", asked.append)
    assert cli.main(["sweep", "claim/run.py", "--index", "1", "--dir", "there"]) == 0
    (planned,) = asked
    assert planned.run.seed == 1 and str(planned.directory.parent) == "there"


def test_a_file_that_was_changed_meanwhile_is_refused(home, monkeypatch, refused):
    monkeypatch.setattr(ties, "tie", lambda: "seed=9-00000000")
    code, told = refused("sweep", "claim/run.py", "--index", "1")
    assert code == 2 and "got another RUNS[1]; begin the sweep again" in told


def test_smoke_shortens_all_and_keeps_nothing_among_the_true_results(home, capsys, monkeypatch):
    (home / "claim" / "run.py").write_text(LIST.replace("range(3)", "(5, 6)"))
    assert cli.main(["sweep", "claim/run.py", "--smoke"]) == 0
    told = capsys.readouterr().out
    assert told.count("\ndone ") == 2 and not (home / "claim" / "results").exists()
    found = [json.loads(path.read_text()) for path in (home / "runs" / "claim" / "smoke" / "results").iterdir()]
    assert sorted(held["run"]["seed"] for held in found) == [5, 6]
    assert all(held["reached"]["steps"] == 4 for held in found)
