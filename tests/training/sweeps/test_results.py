"""Tests that a result is small, whole or nothing, and says what the metrics say."""

import dataclasses
import json

import numpy as np
import pytest

from jattn.training.run import Run
from jattn.training.sources.text import Text
from jattn.training.sweeps import results

RUN = Run(source=Text(("/somewhere/of/mine/text",)), batch=2, context=50)


def rows(count, layers=1, heads=2, every=10):
    entropy = (np.arange(layers * heads).reshape(layers, heads) / 7).tolist()
    found = [
        {"step": n, "loss": 5 - n / count, "tokens_per_second": 200, "entropy": entropy} for n in range(1, count + 1)
    ]
    for n in [*range(every, count, every), count]:
        found[n - 1]["heldout_loss"] = 6 - n / count
    return found


def kept(directory, found):
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    held = results.record(RUN, directory)
    results.write(directory / "result.json", held)
    return held


def test_a_result_says_what_was_reached(tmp_path):
    held = kept(tmp_path, rows(100))
    # the last twentieth are steps 96 to 100; each step is 100 tokens at 200 a second
    assert held["reached"] == {"heldout_loss": 5.0, "train_loss": 4.02, "steps": 100, "seconds": 50.0}
    assert results.read(tmp_path / "result.json", RUN) == json.loads(json.dumps(held))
    assert set(held["versions"]) == {"python", "jax", "jaxlib", "jattn"}
    assert held["machine"]["cores"] >= 1 and "cpu" in held["machine"]["devices"]


def test_the_accuracy_is_kept_where_there_is_one(tmp_path):
    found = rows(100)
    for row in found[9::10]:
        row["heldout_accuracy"] = row["step"] / 200
    held = kept(tmp_path, found)
    assert held["reached"]["heldout_accuracy"] == held["points"][-1]["heldout_accuracy"] == 0.5
    assert sum("heldout_accuracy" in point for point in held["points"]) == 10
    assert "heldout_accuracy" not in results.record(RUN, tmp_path, diverged=100)["reached"]


@pytest.mark.parametrize("layers, heads", [(1, 2), (12, 12), (32, 32)])
def test_a_result_is_small_and_holds_no_path(layers, heads, tmp_path):
    held = kept(tmp_path, rows(200, layers, heads, every=2))
    text = (tmp_path / "result.json").read_text()
    assert len(text) < 30_000 and "/somewhere" not in text
    points = held["points"]
    assert points[0]["step"] == 1 and points[-1] == {
        "step": 200, "loss": 4.0, "heldout_loss": 5.0, "entropy": points[-1]["entropy"],
    }  # fmt: skip
    assert 50 <= len(points) <= 100 and sum("heldout_loss" in point for point in points) >= 50
    assert np.shape(points[-1]["entropy"]) == (layers, heads)


def test_a_short_run_keeps_every_step_and_an_engine_without_weights_no_entropy(tmp_path):
    found = [{name: value for name, value in row.items() if name != "entropy"} for row in rows(7)]
    points = kept(tmp_path, found)["points"]
    assert [point["step"] for point in points] == [1, 2, 3, 4, 5, 6, 7] and "entropy" not in points[-1]


def test_a_run_may_diverge_at_its_first_step(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    held = results.record(RUN, tmp_path, 1)
    assert held["points"] == [] and held["reached"]["diverged"] == 1 and held["reached"]["steps"] == 0


def test_what_is_not_whole_or_of_another_run_is_no_result(tmp_path):
    kept(tmp_path, rows(20))
    path = tmp_path / "result.json"
    assert results.read(path, Run()) is None and results.read(tmp_path / "none.json", RUN) is None
    # the file's place is not kept, and yet decides
    assert results.read(path, dataclasses.replace(RUN, source=Text(("/elsewhere/text",)))) is None
    whole = path.read_text()
    for text in (whole[:-20], "", "[]", '{"digest": 3}', whole.replace('"steps": 4300', '"steps": 4301')):
        path.write_text(text)
        assert results.read(path, RUN) is None, text[:40]
    path.write_bytes(b"\xff\xfe")
    assert results.read(path, RUN) is None
