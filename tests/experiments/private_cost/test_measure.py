"""What `measure.py` keeps of a measurement, with made-up ones in SPU's place."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jattn.costs import private
from jattn.costs.private import Measured, Party, Sent
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "private_cost"
measure = listed.executed(FOLDER / "measure.py")


def made(function, *arguments, setting, python):
    if setting.beaver == "MultiParty":
        raise RuntimeError("SPU must be able to.")
    outputs = [np.asarray(function(*arguments)) + 0.5]
    parties = (Party(Sent(60, 3), Sent(40, 2)), Party(Sent(40, 2), Sent(60, 3)))
    operations = {"dot": (1, Sent(10, 1)), "tanh": (2, Sent(90, 4)), "add": (7, Sent(0, 0))}
    return Measured(outputs, parties, operations, 0.25, {"spu": "0"})


@pytest.fixture
def without_spu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(private, "measure", made)
    monkeypatch.setattr(private, "interpreter", lambda named: Path("python"))
    monkeypatch.setattr(measure, "TINY", measure.TINY._replace(repeats=2, most=None))
    return tmp_path / measure.SMOKE / "results"


def rows(path):
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["versions"]["here"]["jax"] == jax.__version__ and held["machine"]["cores"] >= 1
    return held["rows"]


def test_a_row_holds_every_run_of_every_party(without_spu):
    assert measure.main(["--smoke", "replacements"]) == 0
    found = rows(without_spu / "replacements.json")
    assert [(row["name"], row["weights"]) for row in found][5] == ("SM+ScFuFFN", "softmax") and len(found) == 10
    assert found[0]["runs"] == [[[60, 3], [40, 2]]] * 2 and found[0]["error"] == 0.5
    assert list(found[0]["operations"].items()) == [("tanh", [2, 90, 4]), ("dot", [1, 10, 1])]


def test_what_the_library_refuses_is_kept(without_spu):
    assert measure.main(["--smoke", "offline"]) == 0
    first, _, last = rows(without_spu / "offline.json")
    assert first["sent"] == [[60, 3], [40, 2]] and last["refused"] == "SPU must be able to."


def test_only_what_divides_is_measured_with_both_denominators(without_spu):
    assert measure.main(["--smoke", "operations"]) == 0
    found = [(row["name"], row["denominator"]) for row in rows(without_spu / "operations.json")]
    assert ("softmax", "broadcast") in found and ("gelu", "broadcast") not in found
    assert len(found) == 3 * 16 and len(set(found)) == 16


def test_what_was_cut_off_goes_on(without_spu, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", without_spu)
    monkeypatch.setattr(measure, "FULL", measure.TINY._replace(repeats=1, most=2))
    without_spu.mkdir(parents=True)
    assert measure.main(["replacements"]) == 0
    kept = rows(without_spu / "replacements.json")
    kept[0]["error"] = 7.0
    (without_spu / "replacements.json").unlink()
    measure.write(without_spu / "replacements.json", [{**row, "versions": {"spu": "0"}} for row in kept])
    monkeypatch.setattr(measure, "FULL", measure.FULL._replace(most=3))
    assert measure.main(["replacements"]) == 0
    found = rows(without_spu / "replacements.json")
    assert [row["error"] for row in found] == [7.0, 0.5, 0.5] and found[:2] == kept


def test_a_byte_costs_its_negative_log_probability():
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]]))
    tokens, scored = np.array([[0, 1, 2]]), np.array([[1.0, 0.0]])
    assert measure.nats(logits, tokens, scored) == pytest.approx(np.log(4), rel=1e-5)
    assert measure.nats(logits, tokens, 1 - scored) == pytest.approx(-np.log(0.75), rel=1e-5)


def test_decoders_that_were_not_trained_are_asked_for(without_spu):
    with pytest.raises(FileNotFoundError, match="needs a run in runs/private_cost/smoke/.*, got none; jattn sweep"):
        measure.main(["--smoke", "trained"])


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        measure.main(["opperations"])
    assert "A part is one of offline, operations" in capsys.readouterr().err


def test_without_spu_nothing_is_measured_and_one_sentence_says_why(monkeypatch, capsys):
    monkeypatch.delenv(private.VARIABLE, raising=False)
    assert measure.main(["--smoke"]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "`python3.11 -m venv spu-environment`" in told
