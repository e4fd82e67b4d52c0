"""The notebook runs from top to bottom, and shows what it says."""

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[3] / "experiments" / "notebooks" / "memory_efficient.ipynb"


def cells():
    held = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in held["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs():
    held = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in held["cells"] if "outputs" in cell)


def test_installing_leaves_the_runtimes_jax_alone(monkeypatch):
    install, asked = cells()[0], []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda words, check: asked.append(words))
    exec(compile(install, NOTEBOOK.name, "exec"), {})
    (words,) = asked
    assert "--no-deps" in words and not [word for word in words if word == "jax" or word.startswith("jax[")]


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    matplotlib.use("agg")
    held = {}
    for number, cell in enumerate(cells()):
        exec(compile(cell, f"{NOTEBOOK.name}, code cell {number}", "exec"), held)
    # some spacings of float32 at values of order 1; gradients of values sum over 2048 rows
    assert held["apart"]["outputs"] < 1e-6 and held["apart"]["gradients"] < 1e-5
    assert held["ratio"][""] >= 59 and held["ratio"][", gradient"] >= 32
    assert len(set(held["sizes"].values())) == 1 and all(bool(abs(x).max() > 0) for x in held["slopes"])
