"""The notebook runs from top to bottom, and shows what it says."""

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[3] / "experiments" / "notebooks" / "sigma_reparam.ipynb"


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
    assert "--no-deps" in asked[0] and not [word for word in sum(asked, []) if word == "jax" or word.startswith("jax[")]


@pytest.mark.slow
def test_every_cell_runs_and_the_claim_shows():
    matplotlib.use("agg")
    held = {}
    for number, cell in enumerate(cells()):
        exec(compile(cell, f"{NOTEBOOK.name}, code cell {number}", "exec"), held)
    # power iteration from the exact vector; one sum of 6144 products of order 1 in float32
    assert abs(held["norm"] - 1) < 1e-5 and abs(held["cosine"]) < 1e-6
    # the bound lies below 4.2 nats, whose spacings in float32 are 5e-7
    assert held["slack"] > -1e-6
    (plain, collapsed), (kept, least) = (curve[:, -20:].mean(-1) for curve in held["curves"].values())
    assert collapsed < 0.01 < 0.3 < least and kept < plain - 0.3
