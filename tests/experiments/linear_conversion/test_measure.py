"""`measure.py` on a few steps: every arm from the same softmax run, once."""

import json
from pathlib import Path

import pytest

from jattn.training.sweeps import listed, names

FOLDER = Path(__file__).parents[3] / "experiments" / "linear_conversion"
measure = listed.executed(FOLDER / "measure.py")
RUN = measure.RUN


@pytest.mark.slow
def test_smoke_converts_by_every_arm_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with measure.short.compiled_fast():
        assert measure.main(["--smoke"]) == 0
    home = tmp_path / measure.HOME / "smoke" / "results" / measure.CONVERTED
    held = {file.stem: json.loads(file.read_text()) for file in home.iterdir()}
    assert set(held) == {f"{arm}-seed-1" for arm in ("softmax", "favor", "hedgehog", "lln")}
    assert {name: set(each["losses"]) for name, each in held.items()} == {
        "softmax-seed-1": {"tuned"},
        "favor-seed-1": {"softmax", "converted", "tuned"},
        "lln-seed-1": {"softmax", "converted", "tuned"},
        "hedgehog-seed-1": {"softmax", "converted", "distilled", "mimicry", "tuned"},
    }
    assert len({each["digest"] for each in held.values()}) == 1
    assert len({each["losses"]["softmax"] for name, each in held.items() if name != "softmax-seed-1"}) == 1
    before = {file: file.stat().st_mtime_ns for file in home.iterdir()}
    assert measure.main(["--smoke"]) == 0
    assert before == {file: file.stat().st_mtime_ns for file in home.iterdir()}


def test_results_name_the_runs_that_they_are_of():
    digests = {names.digest(RUN.tuned(seed, arm)) for seed in RUN.SEEDS for arm in measure.ARMS}
    assert len(digests) == len(RUN.SEEDS) * len(measure.ARMS)
