"""What every notebook must hold: no outputs are kept, and installing leaves the runtime's jax alone."""

import json

import pytest

from tests.support import NOTEBOOKS, notebook_cells

every_notebook = pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)


@every_notebook
def test_it_is_kept_without_outputs(file):
    held = json.loads(file.read_text(encoding="utf-8"))
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in held["cells"] if "outputs" in cell)


@every_notebook
def test_installing_leaves_the_runtimes_jax_alone(file, monkeypatch):
    install, asked = notebook_cells(file)[0], []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda words, check: asked.append(words))
    exec(compile(install, file.name, "exec"), {})
    assert "--no-deps" in asked[0] and not [word for word in sum(asked, []) if word == "jax" or word.startswith("jax[")]
