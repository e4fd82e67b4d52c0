"""What `measure.py` measures, on tiny sizes."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks import compilers
from jattn.training.sweeps import listed
from tests.support import needs_compiler

FOLDER = Path(__file__).parents[3] / "experiments" / "memory_efficient"
measure = listed.executed(FOLDER / "measure.py")


def test_its_float64_is_attention_and_its_gradients():
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.normal(size=(n, w)) for n, w in ((13, 4), (9, 4), (9, 3), (13, 3)))
    with jax.enable_x64(True):
        want, pull = jax.vjp(lambda q, k, v: jax.nn.softmax(q @ k.T / 2) @ v, *map(jnp.asarray, (q, k, v)))
        want = want, *pull(jnp.asarray(g))
    for best, ours in zip(want, measure.exact(q, k, v, g, rows=5), strict=True):
        np.testing.assert_allclose(ours, best, rtol=1e-12, atol=1e-14)


def test_differentiation_is_of_the_sum_of_outputs():
    q, k, v = measure.drawn(6, 3)
    found = measure.directions(measure.standard)["differentiation"](q, k, v)
    # each row's weights sum to 1, so that the values' gradients sum to one a query
    np.testing.assert_allclose(found[2].sum(0), jnp.full((1, measure.WIDTH), 6.0), rtol=1e-6)


def test_parts_are_written_with_machine_and_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert measure.main(["--smoke", "agreement", "single_query"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    held = json.loads((tmp_path / measure.SMOKE_RESULTS / "agreement.json").read_text())
    assert held["versions"]["jax"] == jax.__version__ and held["machine"]["cores"] >= 1
    assert {row["array"] for row in held["rows"]} == {"out", "dq", "dk", "dv"}
    # a hundred times what float32 leaves: a wrong form would be off by its whole size
    assert all(0 < row["error"] < 1e-4 for row in held["rows"])


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        measure.main(["memroy"])
    assert "A part is one of memory, single_query" in capsys.readouterr().err


def test_a_missing_compiler_is_one_sentence_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compilers, "missing", lambda chip: f"Compiling for {chip} needs libtpu.")
    assert measure.main(["--smoke", "tpu_float32", "single_query"]) == 0
    left, done = capsys.readouterr().out.splitlines()
    assert left == "tpu_float32 is left out. Compiling for v5e needs libtpu." and done.endswith("single_query.json")
    assert not (tmp_path / measure.SMOKE_RESULTS / "tpu_float32.json").exists()


def test_a_chip_is_compiled_for_or_its_refusal_kept(monkeypatch):
    needs_compiler(measure.CHIP)
    monkeypatch.setattr(measure, "FORMS", {"standard": measure.standard})
    monkeypatch.setattr(measure, "pallas", measure.tiled)
    rows = measure.tpu(jnp.bfloat16, measure.SMOKE._replace(compiled=(2**17,)))
    assert [row["why"] for row in rows if row["form"] == "standard"] == ["out of memory"] * 2
    # one head of 2^17 tokens is 16 MiB an array; the matrix would be 2^34 numbers
    assert all(row["bytes"] < 2**28 for row in rows if row["form"] == "pallas")


@pytest.mark.slow
def test_every_part_of_smoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.main(["--smoke"]) == 0
    assert {path.stem for path in (tmp_path / measure.SMOKE_RESULTS).iterdir()} >= set(measure.PARTS) - {
        "tpu_bfloat16", "tpu_float32",
    }  # fmt: skip
