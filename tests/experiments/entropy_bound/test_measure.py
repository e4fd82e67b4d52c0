"""What `measure.py` keeps, against rows worked out by hand and a model's own attention."""

import json
from pathlib import Path

import numpy as np
import pytest

from jattn.mechanisms.entropy_bound import tightest_row
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_bound"
measure = listed.executed(FOLDER / "measure.py")


def layer(seed=0, tokens=7, size=1.0):
    rng = np.random.default_rng(seed)
    inputs, query, key = (size * rng.normal(size=shape) for shape in ((2, tokens, 6), (6, 3, 2), (6, 3, 2)))
    return measure.Layer(inputs, query, key, np.zeros((2, tokens, 3)))


def test_entropies_of_rows_by_hand():
    rows = np.array([[0.0, 0, 0, 0], [0, -np.inf, -np.inf, -np.inf], [0, np.log(3), -np.inf, -np.inf]])
    want = [np.log(4), 0, -0.25 * np.log(0.25) - 0.75 * np.log(0.75)]
    np.testing.assert_allclose(measure.entropies(rows + 500), want, atol=1e-13)


def test_the_tightest_row_is_at_its_bound():
    logits = np.asarray(tightest_row(np.float64(2.5), 9), np.float64)
    # the row is made in float32
    np.testing.assert_allclose(measure.bound(np.full((1,), 2.5), np.array([9])), measure.entropies(logits), rtol=1e-6)


def test_a_layer_is_measured_by_its_definition():
    given = layer()
    found = measure.measured(given)
    for head in range(3):
        product = given.query[:, head] @ given.key[:, head].T
        np.testing.assert_allclose(found["product"][head], np.linalg.svd(product)[1][0], rtol=1e-5)
        norms, least = [], []
        for x in given.inputs:
            logits = x @ product @ x.T / np.sqrt(2)
            norms.append(np.linalg.norm(x @ x.T, 2) * np.linalg.norm(product, 2) / np.sqrt(2))
            causal = [measure.entropies(logits[n, : n + 1]) for n in range(1, 7)]
            least.append((measure.entropies(logits).min(), min(causal)))
        np.testing.assert_allclose(found["norm"][head], max(norms), rtol=1e-5)
        np.testing.assert_allclose(found["unmasked entropy"][head], min(one for one, _ in least), rtol=1e-5)
        np.testing.assert_allclose(found["causal entropy"][head], min(one for _, one in least), rtol=1e-5)


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_no_row_crosses_its_bound_and_a_wrong_norm_would(size):
    found = [measure.measured(layer(seed, size=size)) for seed in range(20)]
    for rows in ("unmasked", "causal"):
        for which in ("theorem", "own"):
            assert min(min(each[f"{rows} above {which}"]) for each in found) > -1e-9
    # of half the norm the bound is no bound
    given = layer(size=size)
    query, key = (np.einsum("btm,mhd->bhtd", given.inputs, kernel) for kernel in (given.query, given.key))
    logits = np.einsum("bhtd,bhsd->bhts", query, key) / np.sqrt(2)
    logits -= logits.mean(-1, keepdims=True)
    wrong = measure.bound(np.linalg.norm(logits, axis=-1) / 2, np.full(7, 7))
    assert (measure.entropies(logits) < wrong).any()


@pytest.mark.slow
def test_smoke_measures_one_run_of_each_arm_and_its_attention_agrees(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert measure.main(["--smoke"]) == 0
    files = sorted((tmp_path / measure.SMOKE / "results" / measure.ROWS).iterdir())
    assert len(files) == 2 and len(capsys.readouterr().out.splitlines()) == 2
    for file in files:
        points = json.loads(file.read_text())["points"]
        assert [point["step"] for point in points] == [0, 1, 2, 3, 4]
        assert np.shape(points[0]["product"]) == (4, 4)
        # that what is measured is the model's own attention
        assert max(np.max(point["instrument"]) for point in points) < 1e-5
    before = [file.stat().st_mtime_ns for file in files]
    assert measure.main(["--smoke"]) == 0 and [file.stat().st_mtime_ns for file in files] == before
