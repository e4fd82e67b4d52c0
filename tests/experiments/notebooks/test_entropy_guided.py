"""The notebook runs from top to bottom, and shows what it says."""

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[3] / "experiments" / "notebooks" / "entropy_guided.ipynb"


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
    # sums of 256 products of order 1 in float32
    assert held["apart"] < 1e-5
    assert (held["entropies"][1:] > held["entropies"][:-1]).all() and held["entropies"][-1] < held["ceiling"]
    losses = {name: nats[-20:].mean() for name, (nats, _) in held["reached"].items()}
    # a byte of this text is 3.3 nats by frequency alone
    assert min(losses, key=losses.get) == "SM+LN+G" and max(losses.values()) < 3.2
    # without norms the first layers overload and the last collapse
    entropy = held["reached"]["SM"][1]
    assert entropy[0].min() > 0.75 * held["ceiling"] and entropy[-1].max() < 0.25 * held["ceiling"]
